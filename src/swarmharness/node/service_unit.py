"""The systemd user unit of a node as text; it writes no file and calls no program.

What hardens it is what a user's own manager can apply without privileges, and what neither a worker process that runs
ONNX Runtime nor the pip of `skills pull` needs.
"""

from __future__ import annotations

from collections.abc import Sequence

UNIT_NAME = "swarmharness.service"
STOP_TIMEOUT_S = 60
"""A node hands back what it runs for others, and writes what it owes, before it ends."""

_UNIT = """\
[Unit]
Description=SwarmHarness node
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
Restart=on-failure
RestartSec=5
# 2: a configuration that is wrong stays wrong.
RestartPreventExitStatus=2
TimeoutStopSec={stop_timeout_s}
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
Nice=5

[Install]
WantedBy=default.target
"""


def unit_text(command: Sequence[str]) -> str:
    """Return the unit that runs `command`; raises ValueError for a word that no unit can hold."""
    return _UNIT.format(command=" ".join(map(_quoted, command)), stop_timeout_s=STOP_TIMEOUT_S)


def _quoted(word: str) -> str:
    """Return a word for `ExecStart=`, see systemd.service(5) and systemd.syntax(7): nothing in it is expanded."""
    if not word.isprintable():
        raise ValueError(f"{word!r} has a control character")
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{text}"'
