"""The part of `doctor` that looks at the machine: Python, libraries, clock and space; it changes nothing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import swarmharness
from swarmharness.execution.providers import shortfall
from swarmharness.hints import quoted
from swarmharness.node.data_dir import DataDir

Verdict = Literal["ok", "warn", "fail"]

PYTHONS_TESTED = ((3, 11), (3, 12), (3, 13))
SUBPROCESS_TIMEOUT_S = 60.0
SPACE_FAIL_BYTES = 64 * 2**20
SPACE_WARN_BYTES = 2 * 2**30
CLOCK_DRIFT_MAX_MS = 50


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    check: str
    verdict: Verdict
    detail: str
    remedy: str = ""


def python() -> Finding:
    """Judge the interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if tuple(sys.version_info[:2]) not in PYTHONS_TESTED:
        return Finding("python", "warn", f"{version} is not tested", "use Python 3.11, 3.12 or 3.13 if anything fails")
    return Finding("python", "ok", f"{version} at {sys.executable}")


def platform() -> Finding:
    """Judge the operating system."""
    system = f"{os.uname().sysname} {os.uname().release} {os.uname().machine}"
    if os.uname().sysname == "Linux":
        return Finding("platform", "ok", system)
    return Finding("platform", "warn", system, "only Linux is tested; macOS may work")


def dependencies() -> Iterator[Finding]:
    """Look for the packages that the project's metadata requires."""
    required = importlib.metadata.requires("swarmharness") or []
    missing: dict[str, list[str]] = {}
    found = 0
    for requirement in required:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"](\w+)['\"]", requirement)
        if name is None or (extra and extra.group(1) != "models"):
            continue
        try:
            importlib.metadata.version(name.group())
            found += 1
        except importlib.metadata.PackageNotFoundError:
            missing.setdefault(extra.group(1) if extra else "", []).append(name.group())
    if "" in missing:
        names = ", ".join(missing[""])
        yield Finding(
            "dependencies", "fail", f"missing: {names}", f"{quoted(sys.executable)} -m pip install swarmharness"
        )
    elif "models" in missing:
        names = ", ".join(missing["models"])
        remedy = f"{quoted(sys.executable)} -m pip install 'swarmharness[models]'"
        yield Finding("dependencies", "warn", f"some skills cannot run without: {names}", remedy)
    else:
        yield Finding("dependencies", "ok", f"{found} packages, swarmharness {swarmharness.__version__}")


def providers(wanted: Sequence[str] = ()) -> Finding:
    """Ask ONNX Runtime what it can compute on, and whether that is what the configuration wants."""
    # In a process of its own: a broken GPU library can end the process that loads it.
    program = "import onnxruntime; print(onnxruntime.__version__, *onnxruntime.get_available_providers())"
    try:
        run = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=SUBPROCESS_TIMEOUT_S,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},  # else the import leaves a device id in the cache
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("execution providers", "fail", f"ONNX Runtime does not load: {error}", "reinstall onnxruntime")
    words = run.stdout.split()
    if run.returncode != 0 or len(words) < 2:
        reason = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        remedy = f"{quoted(sys.executable)} -m pip install --force-reinstall onnxruntime"
        return Finding("execution providers", "fail", f"ONNX Runtime does not load: {reason}", remedy)
    if problem := shortfall(words[1:], wanted):
        detail, _, remedy = problem.rpartition(": ")
        return Finding("execution providers", "fail", detail, remedy)
    return Finding("execution providers", "ok", f"onnxruntime {words[0]}: {', '.join(words[1:])}")


def space(check: str, path: Path) -> Finding:
    """Judge the room on the disk that holds, or will hold, `path`."""
    free = shutil.disk_usage(nearest_existing(path)).free
    detail = f"{free / 2**30:.1f} GiB free for {path}"
    if free < SPACE_FAIL_BYTES:
        return Finding(check, "fail", detail, "free some space")
    return Finding(
        check,
        "warn" if free < SPACE_WARN_BYTES else "ok",
        detail,
        "" if free >= SPACE_WARN_BYTES else "models take up to 100 MiB each: free some space soon",
    )


def clock(directory: DataDir) -> Finding:
    """Compare the wall clock with files that exist and with the monotonic clock; takes 0.2 s."""
    remedy = "switch on time synchronisation, for example: timedatectl set-ntp true"
    installed = Path(swarmharness.__file__).stat().st_mtime
    newest = max(installed, directory.path.stat().st_mtime if exists(directory.path) else 0.0)
    now = time.time()
    if now < newest - 60:
        return Finding("clock", "fail", f"{newest - now:.0f} s behind the newest file of SwarmHarness", remedy)
    wall, steady = time.time_ns(), time.monotonic_ns()
    time.sleep(0.2)  # measures the clocks against each other; nothing waits for it
    drift_ms = abs((time.time_ns() - wall) - (time.monotonic_ns() - steady)) / 1e6
    if drift_ms > CLOCK_DRIFT_MAX_MS:
        return Finding("clock", "warn", f"jumped by {drift_ms:.0f} ms while it was watched", remedy)
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def exists(path: Path) -> bool:
    """Tell whether there is a file or folder that this user may see."""
    try:
        return path.exists()
    except OSError:
        return False


def stopped(pid: int) -> bool:
    """Tell whether a process was stopped (SIGSTOP, Ctrl-Z), where the system says so."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False


def nearest_existing(path: Path) -> Path:
    """Return the path or its nearest ancestor that exists."""
    while not exists(path):
        path = path.parent
    return path
