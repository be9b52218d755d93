"""Looks for whatever keeps a node from working, and says how to mend each; it changes nothing on the machine."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import swarmharness
from swarmharness.errors import SwarmError
from swarmharness.node.config import Config, load_config
from swarmharness.node.data_dir import DataDir, cache_dir
from swarmharness.registry.invite import parse_join_target

Verdict = Literal["ok", "warn", "fail"]

PYTHONS_TESTED = ((3, 11), (3, 12), (3, 13))
DIAL_TIMEOUT_S = 3.0
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


def examine(directory: DataDir, config_file: Path | None) -> Iterator[Finding]:
    """Yield the findings one by one, in the order in which a person would mend them."""
    yield _python()
    yield _platform()
    yield from _dependencies()
    yield _providers()
    yield from _data_dir(directory)
    yield _space("data directory space", directory.path)
    yield _space("model cache space", cache_dir())
    yield _clock(directory)
    try:
        config = load_config(config_file)
    except SwarmError as error:
        yield Finding("configuration", "fail", str(error), "correct that line, then `swarmharness config check`")
        return
    yield Finding("configuration", "ok", str(config_file) if config_file else "the defaults (there is no file)")
    yield from _ports(directory, config)
    yield from _bootstrap(config)
    yield _models()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if tuple(sys.version_info[:2]) not in PYTHONS_TESTED:
        return Finding("python", "warn", f"{version} is not tested", "use Python 3.11, 3.12 or 3.13 if anything fails")
    return Finding("python", "ok", f"{version} at {sys.executable}")


def _platform() -> Finding:
    system = f"{os.uname().sysname} {os.uname().release} {os.uname().machine}"
    if os.uname().sysname == "Linux":
        return Finding("platform", "ok", system)
    return Finding("platform", "warn", system, "only Linux is tested; macOS may work")


def _dependencies() -> Iterator[Finding]:
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
        yield Finding("dependencies", "fail", f"missing: {names}", f"{sys.executable} -m pip install swarmharness")
    elif "models" in missing:
        names = ", ".join(missing["models"])
        remedy = f"{sys.executable} -m pip install 'swarmharness[models]'"
        yield Finding("dependencies", "warn", f"some skills cannot run without: {names}", remedy)
    else:
        yield Finding("dependencies", "ok", f"{found} packages, swarmharness {swarmharness.__version__}")


def _providers() -> Finding:
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
        remedy = f"{sys.executable} -m pip install --force-reinstall onnxruntime"
        return Finding("execution providers", "fail", f"ONNX Runtime does not load: {reason}", remedy)
    return Finding("execution providers", "ok", f"onnxruntime {words[0]}: {', '.join(words[1:])}")


def _data_dir(directory: DataDir) -> Iterator[Finding]:
    path = directory.path
    if not path.exists():
        nearest = _existing(path)
        if os.access(nearest, os.W_OK | os.X_OK):
            yield Finding("data directory", "ok", f"{path} will be made by the first start")
        else:
            yield Finding("data directory", "fail", f"{nearest} is not writable", "choose another with --data-dir")
        return
    if not os.access(path, os.W_OK | os.X_OK):
        yield Finding("data directory", "fail", f"{path} is not writable", f"chmod 700 {path}, or another --data-dir")
        return
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        yield Finding("data directory", "warn", f"{path} is open to others", f"chmod 700 {path}")
    else:
        yield Finding("data directory", "ok", str(path))
    pid = directory.holder_pid()
    yield Finding("node", "ok", f"runs, pid {pid}" if pid else "does not run")
    if not directory.identity_file.exists():
        yield Finding("key", "ok", "will be made by the first start")
        return
    try:
        yield Finding("key", "ok", directory.identity().peer_id)
    except SwarmError as error:
        yield Finding("key", "fail", str(error), f"chmod 600 {directory.identity_file}, or restore it from a backup")


def _space(check: str, path: Path) -> Finding:
    free = shutil.disk_usage(_existing(path)).free
    detail = f"{free / 2**30:.1f} GiB free for {path}"
    if free < SPACE_FAIL_BYTES:
        return Finding(check, "fail", detail, "free some space")
    return Finding(
        check,
        "warn" if free < SPACE_WARN_BYTES else "ok",
        detail,
        "" if free >= SPACE_WARN_BYTES else "models take up to 100 MiB each: free some space soon",
    )


def _clock(directory: DataDir) -> Finding:
    remedy = "switch on time synchronisation, for example: timedatectl set-ntp true"
    installed = Path(swarmharness.__file__).stat().st_mtime
    newest = max(installed, directory.path.stat().st_mtime if directory.path.exists() else 0.0)
    now = time.time()
    if now < newest - 60:
        return Finding("clock", "fail", f"{newest - now:.0f} s behind the newest file of SwarmHarness", remedy)
    wall, steady = time.time_ns(), time.monotonic_ns()
    time.sleep(0.2)  # measures the clocks against each other; nothing waits for it
    drift_ms = abs((time.time_ns() - wall) - (time.monotonic_ns() - steady)) / 1e6
    if drift_ms > CLOCK_DRIFT_MAX_MS:
        return Finding("clock", "warn", f"jumped by {drift_ms:.0f} ms while it was watched", remedy)
    return Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _ports(directory: DataDir, config: Config) -> Iterator[Finding]:
    if directory.holder_pid() is not None:
        yield Finding("ports", "ok", "the running node listens on them")
        return
    for address in directory.remembered_listen(config.network.listen):
        host, port = address.split("/")[2], int(address.split("/")[4])
        if port == 0:
            yield Finding("port", "ok", f"{address}: chosen by the first start")
            continue
        try:
            with closing(socket.create_server((host, port), family=_family(host))):
                yield Finding("port", "ok", f"{address} is free")
        except OSError as error:
            reason = error.strerror or str(error)
            remedy = f"end the program that uses port {port}, or listen elsewhere ([network] listen, or --listen)"
            yield Finding("port", "fail", f"{address}: {reason}", remedy)


def _bootstrap(config: Config) -> Iterator[Finding]:
    for target in config.network.bootstrap:
        try:
            addresses = parse_join_target(target, now_unix_s=int(time.time())).peer.addresses
        except SwarmError as error:
            yield Finding("bootstrap", "fail", str(error), "ask for a new invite: `swarmharness invite` over there")
            continue
        reasons = [reason for reason in map(_dial, addresses) if reason]
        if len(reasons) < len(addresses):
            yield Finding("bootstrap", "ok", f"{addresses[0]} answers")
        else:
            detail = f"no address of {target[:60]} answers: {'; '.join(reasons) or 'it has none'}"
            yield Finding(
                "bootstrap", "warn", detail, "see that the node runs, listens beyond loopback, and no firewall"
            )


def _dial(address: str) -> str:
    """Return why a TCP connection to the multiaddr fails, or an empty string."""
    parts = address.split("/")
    try:
        with closing(socket.create_connection((parts[2], int(parts[4])), timeout=DIAL_TIMEOUT_S)):
            return ""
    except (OSError, IndexError, ValueError) as error:
        return f"{address}: {getattr(error, 'strerror', None) or error}"


def _models() -> Finding:
    folder = cache_dir() / "models"
    count = sum(1 for path in folder.iterdir() if path.is_file()) if folder.is_dir() else 0
    if count == 0:
        return Finding("models", "warn", f"none in {folder}", "swarmharness skills pull text-embedding")
    return Finding("models", "ok", f"{count} files in {folder}")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
