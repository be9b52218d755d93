"""Chooses free ports where the configuration leaves that to the node, and keeps them in the data directory; binds none.

A kept port makes invites last. One that another program has at the next start is chosen anew, and that is said.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from swarmharness.errors import ConfigurationError
from swarmharness.json_text import read_json
from swarmharness.node.data_dir import DataDir

_FILE = "ports.json"
_log = logging.getLogger(__name__)


def concrete_listen(directory: DataDir, listen: tuple[str, ...]) -> tuple[str, ...]:
    """Replace port 0 in each address by the port chosen for it before, or by a free one that is remembered."""
    remembered = _read(directory.path / _FILE)
    chosen: dict[str, int] = {}
    with ExitStack() as held:
        for address in listen:
            if _port(address) == 0 and address not in chosen:
                before = remembered.get(address)
                chosen[address] = _choose(address, before, held.enter_context)
                if before not in (None, chosen[address]):
                    _log.warning(
                        "port %d, which this node chose earlier, is taken: it listens on %s from now on; invites that "
                        "it gave before name the old port, so give new ones",
                        before,
                        _with_port(address, chosen[address]),
                    )
    if chosen.items() - remembered.items():
        directory.write_secret(_FILE, json.dumps({**remembered, **chosen}, indent=1).encode())
    return tuple(_with_port(address, chosen[address]) if _port(address) == 0 else address for address in listen)


def remembered_listen(directory: DataDir, listen: tuple[str, ...]) -> tuple[str | None, ...]:
    """As `concrete_listen`, but choose nothing: None stands for an address whose port is still to be chosen."""
    remembered = _read(directory.path / _FILE)
    chosen = ((address, remembered.get(address, 0) if _port(address) == 0 else _port(address)) for address in listen)
    return tuple(_with_port(address, port) if port else None for address, port in chosen)


def _port(address: str) -> int:
    found = re.search(r"/tcp/(\d+)", address)
    return int(found.group(1)) if found else -1


def _with_port(address: str, port: int) -> str:
    return re.sub(r"/tcp/\d+", f"/tcp/{port}", address, count=1)


def _choose(address: str, wanted: int | None, hold: Callable[[socket.socket], socket.socket]) -> int:
    """Return the wanted port if nobody has it, else one that is free; held, so that no two addresses get the same."""
    host = address.split("/")[2]
    for port in (wanted, 0) if wanted else (0,):
        probe = hold(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM))
        if port:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of the last run may linger
        if probe.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)  # two sockets may bind one address; only one may listen
        except OSError as error:
            if port and error.errno == errno.EADDRINUSE:
                continue
            raise ConfigurationError(f"cannot listen on {host}: {error.strerror or error}") from None
        found: int = probe.getsockname()[1]
        return found
    raise ConfigurationError(f"there is no free port on {host}: stop a program that has one")


def _read(path: Path) -> dict[str, int]:
    try:
        table = read_json(path.read_text())
        return {str(address): int(port) for address, port in table.items() if 0 < int(port) < 65536}
    except (OSError, ValueError, AttributeError, TypeError, OverflowError):
        return {}  # losing it costs a new port, nothing else
