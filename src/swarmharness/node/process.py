"""Starts a node as a process of its own and ends it; for the demo, the benchmarks and the pytest fixtures."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmharness.errors import DeadlineError, SwarmError
from swarmharness.json_text import read_json
from swarmharness.node.data_dir import DataDir

LOG_NAME = "node.log"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
SERVES_ANYWHERE = "\n[owner]\non_battery = true\nbattery_min_percent = 0\nmemory_available_min_mib = 0\n"
"""Tests and demonstrations run on laptops too."""


@dataclass(slots=True)
class NodeProcess:
    """One `swarmharness node start` that this process started; only its own pid is ever signalled."""

    process: subprocess.Popen[bytes]
    data_dir: DataDir
    peer_id: str
    addresses: tuple[str, ...]

    @property
    def join_address(self) -> str:
        """What another node's `--join` takes."""
        return f"{self.addresses[0]}/p2p/{self.peer_id}"

    def kill(self) -> None:
        """End the node without warning, as a power cut would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """Freeze the node: its sockets stay open, and nobody answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen node go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask the node to end, make it if it does not, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return _wait_or_kill(self.process)


@dataclass(frozen=True, slots=True)
class NodeLaunch:
    """How to start one node on loopback."""

    data_dir: Path
    join: tuple[str, ...] = ()
    skills: tuple[str, ...] | None = None
    """Skills to offer: None is what the configuration says."""
    config: str = "version = 1\n"
    """The configuration, TOML text. Without a table `[owner]`, one is added that lets the node serve on any machine."""
    program: tuple[str, ...] = ("-m", "swarmharness")
    """What Python runs; tests have nodes that misbehave."""


class NodeGroup:
    """Node processes that end together: leaving the block stops every one, even after Ctrl-C or a failed start."""

    def __init__(self) -> None:
        self.nodes: list[NodeProcess] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> NodeGroup:
        return self

    def __exit__(self, *_: object) -> None:
        running = [process for process in self._processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in running:
            _wait_or_kill(process)
        for process in self._processes:
            if process.stdout is not None:
                process.stdout.close()

    def start(self, *launches: NodeLaunch) -> list[NodeProcess]:
        """Start nodes side by side and wait until all are ready; raises SwarmError with the log of one that fails."""
        started = [(self._spawn(launch), DataDir.at(launch.data_dir)) for launch in launches]
        ready = []
        for process, directory in started:
            event = _ready_line(process, directory)
            ready.append(NodeProcess(process, directory, event["peer_id"], tuple(event["addresses"])))
        self.nodes.extend(ready)
        return ready

    def _spawn(self, launch: NodeLaunch) -> subprocess.Popen[bytes]:
        directory = DataDir.at(launch.data_dir)
        directory.create()
        directory.config_file.write_text(launch.config + ("" if "[owner]" in launch.config else SERVES_ANYWHERE))
        command = [sys.executable, *launch.program, "node", "start", "--json", "--data-dir", str(directory.path)]
        command += [word for target in launch.join for word in ("--join", target)]
        command += [word for skill in launch.skills or () for word in ("--skill", skill)]
        with (directory.path / LOG_NAME).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                # Ctrl-C reaches the parent alone, which then stops its nodes in order.
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def _wait_or_kill(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _ready_line(process: subprocess.Popen[bytes], directory: DataDir) -> dict[str, Any]:
    deadline = time.monotonic() + READY_TIMEOUT_S
    stdout = process.stdout
    assert stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([stdout], [], [], max(deadline - time.monotonic(), 0))
        if not readable:
            process.kill()
            raise DeadlineError(f"a node was not ready within {READY_TIMEOUT_S:g} s; {_log_tail(directory)}")
        piece = os.read(stdout.fileno(), 65536)
        if not piece:
            raise SwarmError(f"a node ended with status {process.wait()} at its start; {_log_tail(directory)}")
        line += piece
    stdout.close()  # nothing else comes there
    ready: dict[str, Any] = read_json(line)
    return ready


def _log_tail(directory: DataDir) -> str:
    log = directory.path / LOG_NAME
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"the last lines of {log}: " + " | ".join(lines[-5:])
