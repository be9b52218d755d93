"""Starts a node as a process of its own and ends it; for the demo, the benchmarks and the pytest fixtures."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swarmharness.errors import DeadlineError, SwarmError
from swarmharness.node.data_dir import DataDir

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0


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
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


@contextmanager
def node_processes() -> Iterator[list[NodeProcess]]:
    """Yield a list of running nodes; whatever is on it at the end is stopped, even after Ctrl-C."""
    nodes: list[NodeProcess] = []
    try:
        yield nodes
    finally:
        for node in nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.process.terminate()
        for node in nodes:
            node.stop()


def start_node(
    data_dir: Path,
    *,
    join: Sequence[str] = (),
    skills: Sequence[str] | None = None,
    config: str | None = None,
    environment: dict[str, str] | None = None,
) -> NodeProcess:
    """Start a node on loopback and return it when it is ready; see `launch_node` to start several at once."""
    return next(iter(ready_nodes([launch_node(data_dir, join, skills, config, environment)])))


def launch_node(
    data_dir: Path,
    join: Sequence[str] = (),
    skills: Sequence[str] | None = None,
    config: str | None = None,
    environment: dict[str, str] | None = None,
) -> tuple[subprocess.Popen[bytes], DataDir]:
    """Start a node without waiting for it. `config` is TOML text; `skills` None means all, empty means none."""
    directory = DataDir.at(data_dir)
    directory.create()
    text = config or "version = 1\n"
    if skills is not None and not skills:
        text += "\n[execution]\nskills = []\n"
    directory.config_file.write_text(text)
    command = [sys.executable, "-m", "swarmharness", "node", "start", "--json", "--data-dir", str(directory.path)]
    for target in join:
        command += ["--join", target]
    for skill in skills or ():
        command += ["--skill", skill]
    with (directory.path / "node.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **(environment or {})},
            # Ctrl-C reaches the parent alone, which then stops its nodes in order.
            start_new_session=True,
        )
    return process, directory


def ready_nodes(launched: Iterable[tuple[subprocess.Popen[bytes], DataDir]]) -> Iterator[NodeProcess]:
    """Wait for each launched node's ready line; raises SwarmError with the end of its log if one does not start."""
    for process, directory in launched:
        ready = _ready_line(process, directory)
        yield NodeProcess(process, directory, ready["peer_id"], tuple(ready["addresses"]))


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
    ready: dict[str, Any] = json.loads(line)
    return ready


def _log_tail(directory: DataDir) -> str:
    log = directory.path / "node.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"the last lines of {log}: " + " | ".join(lines[-5:])
