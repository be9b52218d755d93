"""Installs a node as a service of the user's systemd, and removes it; the unit's text is `node.service_unit`'s."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from swarmharness.errors import ConfigurationError
from swarmharness.node.service_unit import UNIT_NAME, unit_text

SYSTEMCTL_TIMEOUT_S = 90.0


def unit_path() -> Path:
    """Return where the user's unit lies; raises ConfigurationError if there is no home directory."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        base = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    except RuntimeError:
        raise ConfigurationError("there is no home directory to install a service in: set HOME") from None
    return base / "systemd" / "user" / UNIT_NAME


def install(data_dir: Path, config: Path | None, *, start: bool) -> Path:
    """Write the unit, and have the user's systemd start it now and at every login; returns its path."""
    command = [sys.executable, "-m", "swarmharness", "node", "start", "--data-dir", str(data_dir)]
    if config is not None:
        command += ["--config", str(config.absolute())]
    path = unit_path()
    try:
        text = unit_text(command)
    except ValueError as error:
        raise ConfigurationError(f"no service can run this: {error}; use another --data-dir") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
    if start:
        _systemctl("daemon-reload")
        _systemctl("enable", "--now", UNIT_NAME)
    return path


def uninstall() -> Path | None:
    """Stop the service and remove its unit; returns its path, or None if none was installed."""
    path = unit_path()
    if not path.exists():
        return None
    if shutil.which("systemctl"):
        subprocess.run(["systemctl", "--user", "disable", "--now", UNIT_NAME], capture_output=True, check=False)
    path.unlink(missing_ok=True)
    return path


def by_hand(*arguments: str) -> str:
    """Return the command that does by hand what could not be done."""
    return shlex.join(["systemctl", "--user", *arguments])


def _systemctl(*arguments: str) -> None:
    hint = f"the unit is written; once systemd runs for this user: {by_hand('enable', '--now', UNIT_NAME)}"
    if shutil.which("systemctl") is None:
        raise ConfigurationError(f"this machine has no systemctl; {hint} (or see the README on containers)")
    try:
        done = subprocess.run(
            ["systemctl", "--user", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=SYSTEMCTL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        late = f"systemctl {arguments[0]} did not end in {SYSTEMCTL_TIMEOUT_S:.0f} s"
        raise ConfigurationError(f"{late}; {hint}") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ConfigurationError(f"systemctl {arguments[0]}: {said[-1] if said else 'it failed'}; {hint}")
