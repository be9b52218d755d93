"""Lets pip download one wheel, and ends it with whoever asked; it installs and runs nothing of what comes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from swarmharness.errors import UnavailableError
from swarmharness.execution.limits import die_with_parent

PIP_LOOK_S = 0.1
PIP_SOCKET_TIMEOUT_S = "3.5"
"""Twice this, with two starts of Python, is less than the ten seconds after which a user hears of a silent network."""
PIP_RESOLVER = "timeout:3 attempts:1"
"""The system would wait 10 s for a name server that is silent, and pip asks twice."""
PIP_TIMEOUT_S = 900.0

# Models are data, so a wheel for any Python and any machine will do; these widen what pip looks for.
_ANY_PLATFORM = (
    *("--python-version", "3.12", "--implementation", "cp", "--abi", "cp312", "--abi", "abi3", "--abi", "none"),
    *("--platform", "any", "--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_28_aarch64", "--platform", "linux_x86_64"),
    *("--platform", "macosx_11_0_arm64", "--platform", "win_amd64"),
)


Told = Callable[[int], None]
"""Called with the bytes that came so far; how many are still to come, pip alone knows."""


def download_wheel(requirement: str, folder: Path, stopped: threading.Event, tell: Told) -> Path:
    """Let pip, as the user configured it, put the wheel of `requirement` into `folder`; nothing is installed or run.

    First for this machine, whatever Python the wheel declares; then for any platform.
    """
    folder.mkdir(parents=True, exist_ok=True)
    problem = ""
    for extra in ((), _ANY_PLATFORM):
        problem = _pip_download(requirement, folder, extra, stopped, tell)
        wheels = sorted(folder.glob("*.whl"))
        if not problem and wheels:
            return wheels[0]
    raise UnavailableError(f"pip could not download {requirement}: {problem or 'it left no wheel'}")


def _pip_download(requirement: str, folder: Path, extra: tuple[str, ...], stopped: threading.Event, tell: Told) -> str:
    """Return what went wrong, or nothing; raises UnavailableError where there is no network, and no use in going on."""
    command = (
        *(
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--ignore-requires-python",
        ),
        # Quick to give up: two silent tries must not keep a user without a network waiting for more than ten seconds.
        *("--retries", "1", "--timeout", PIP_SOCKET_TIMEOUT_S),
        *("--no-input", "--disable-pip-version-check", "--quiet", "--dest", str(folder), *extra, "--", requirement),
    )
    status, errors_text = _run_pip(command, folder, stopped, tell)
    if status is None:
        return f"no answer within {PIP_TIMEOUT_S:.0f} s"
    if status == 0:
        return ""
    lines = [line.strip() for line in errors_text.splitlines() if line.strip()]
    if any("No module named pip" in line for line in lines):
        return f"pip is missing; `{sys.executable} -m ensurepip` installs it"
    if any("connection broken by" in line for line in lines):
        raise UnavailableError(
            f"the network does not reach the package index from which pip downloads {requirement}: connect this"
            " machine, or see `pip config list`"
        )
    errors = [line for line in lines if line.startswith("ERROR")] or lines
    return errors[-1].removeprefix("ERROR: ") if errors else f"exit status {status}"


def _run_pip(command: tuple[str, ...], folder: Path, stopped: threading.Event, tell: Told) -> tuple[int | None, str]:
    """Return pip's exit status, None if it took too long, and its stderr; UnavailableError if the fetch is stopped."""
    parent_pid, deadline_s = os.getpid(), time.monotonic() + PIP_TIMEOUT_S
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Its temporary files lie where they are counted, and where they go with the folder if it is killed.
        env={"RES_OPTIONS": PIP_RESOLVER, **os.environ, "TMPDIR": str(folder)},
        preexec_fn=lambda: die_with_parent(parent_pid),
    ) as pip:
        try:
            while not stopped.is_set() and time.monotonic() < deadline_s:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    _, errors_text = pip.communicate(timeout=PIP_LOOK_S)
                    return pip.returncode, errors_text
                tell(_largest_bytes(folder))
        finally:
            pip.kill()
    if stopped.is_set():
        raise UnavailableError("the fetch was stopped")
    return None, ""


def _largest_bytes(folder: Path) -> int:
    """Return the size of the largest file in a folder: the wheel, of which pip makes a copy at the end."""
    largest = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # pip moves its files meanwhile
                largest = max(largest, Path(parent, name).stat().st_size)
    return largest
