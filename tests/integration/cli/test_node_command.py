"""`swarmharness node` and the commands that ask a node, with real processes on loopback."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmharness.registry.invite import parse_invite

pytestmark = pytest.mark.processes

TIMEOUT_S = 60


def command(*arguments: str, data_dir: Path | None = None) -> subprocess.CompletedProcess[str]:
    where = ["--data-dir", str(data_dir)] if data_dir else []
    return subprocess.run(
        [sys.executable, "-m", "swarmharness", *arguments, *where],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


class Node:
    """One `swarmharness node start --json`."""

    def __init__(self, data_dir: Path, *arguments: str) -> None:
        self.data_dir = data_dir
        self.process = subprocess.Popen(
            [sys.executable, "-m", "swarmharness", "node", "start", "--json", "--data-dir", str(data_dir), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.process.stderr and self.process.stderr.read()
        self.ready: dict[str, Any] = json.loads(line)

    def end(self, number: signal.Signals) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode, out, err

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def nodes() -> Iterator[list[Node]]:
    started: list[Node] = []
    yield started
    for node in started:
        node.close()


def start(nodes: list[Node], data_dir: Path, *arguments: str, skills: bool = False) -> Node:
    if not skills:
        data_dir.mkdir(mode=0o700, exist_ok=True)
        (data_dir / "node.toml").write_text("version = 1\n[execution]\nskills = []\n")
    node = Node(data_dir, *arguments)
    nodes.append(node)
    return node


def test_the_ready_line_has_the_promised_keys_and_the_node_stops_on_request(tmp_path: Path, nodes: list[Node]) -> None:
    node = start(nodes, tmp_path / "n")
    assert list(node.ready) == ["event", "peer_id", "addresses", "data_dir", "pid", "skills", "not_offered"]
    assert node.ready["event"] == "ready"
    assert node.ready["data_dir"] == str(tmp_path / "n")
    assert node.ready["pid"] == node.process.pid
    assert all(address.startswith("/ip4/127.0.0.1/tcp/") for address in node.ready["addresses"])
    assert (tmp_path / "n" / "control.sock").stat().st_mode & 0o777 == 0o600
    status = json.loads(command("node", "status", "--json", data_dir=node.data_dir).stdout)
    assert status["peer_id"] == node.ready["peer_id"]
    assert node.ready["peer_id"] in command("node", "status", data_dir=node.data_dir).stdout
    doctor = json.loads(command("doctor", "--json", data_dir=node.data_dir).stdout)
    assert f"runs, pid {node.process.pid}, 0 peers connected" in [check["detail"] for check in doctor["checks"]]
    stopped = command("node", "stop", "--json", data_dir=node.data_dir)
    assert json.loads(stopped.stdout) == {"event": "stopped", "pid": node.process.pid}
    out, err = node.process.communicate(timeout=TIMEOUT_S)
    assert (node.process.returncode, out, err) == (0, "", "")
    assert command("node", "status", data_dir=node.data_dir).returncode == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_node_cleanly(tmp_path: Path, nodes: list[Node], number: signal.Signals) -> None:
    assert start(nodes, tmp_path / "n").end(number) == (0, "", "")


def test_peer_id_and_ports_survive_a_power_cut(tmp_path: Path, nodes: list[Node]) -> None:
    first = start(nodes, tmp_path / "n")
    first.end(signal.SIGKILL)
    second = start(nodes, tmp_path / "n")
    assert second.ready["peer_id"] == first.ready["peer_id"]
    assert second.ready["addresses"] == first.ready["addresses"]


def test_a_second_node_on_the_same_directory_is_told_who_holds_it(tmp_path: Path, nodes: list[Node]) -> None:
    node = start(nodes, tmp_path / "n")
    done = command("node", "start", data_dir=node.data_dir)
    assert done.returncode == 2
    assert f"in use by the node with pid {node.process.pid}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("node", "start", "--listen", f"/ip4/127.0.0.1/tcp/{port}", data_dir=tmp_path / "n")
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_skill_is_refused_at_the_start(tmp_path: Path) -> None:
    done = command("node", "start", "--skill", "text-embeding", data_dir=tmp_path / "n")
    assert done.returncode in (2, 4)
    assert "text-embedding" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_invite_of_a_loopback_node_comes_with_a_warning_and_works_here(tmp_path: Path, nodes: list[Node]) -> None:
    node = start(nodes, tmp_path / "n")
    done = command("invite", data_dir=node.data_dir)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 1
    assert parse_invite(done.stdout).peer_id == node.ready["peer_id"]
    port = node.ready["addresses"][0].split("/")[4]  # its own, which is free as soon as it has stopped
    assert f"node start --data-dir {node.data_dir} --listen /ip4/0.0.0.0/tcp/{port}\n" in done.stderr
    other = start(nodes, tmp_path / "other", "--join", done.stdout.strip())
    assert other.end(signal.SIGTERM)[0] == 0


def test_a_log_line_is_written_when_the_configuration_asks_for_it(tmp_path: Path, nodes: list[Node]) -> None:
    data_dir = tmp_path / "n"
    data_dir.mkdir(mode=0o700)
    (data_dir / "node.toml").write_text('version = 1\n[execution]\nskills = []\n[log]\nlevel = "info"\n')
    node = start(nodes, data_dir, skills=True)
    status, out, err = node.end(signal.SIGTERM)
    assert (status, out) == (0, "")
    assert "INFO swarmharness" in err


@pytest.mark.models
def test_texts_are_embedded_by_a_node_and_by_a_client_that_joins_it(tmp_path: Path, nodes: list[Node]) -> None:
    node = start(nodes, tmp_path / "n", "--skill", "text-embedding", skills=True)
    here = command("submit", "text-embedding", "a cat", "a car", "--json", data_dir=node.data_dir)
    assert here.returncode == 0, here.stderr
    lines = [json.loads(line) for line in here.stdout.splitlines()]
    assert [(line["index"], len(line["output"]), line["peer"]) for line in lines] == [
        (0, 384, node.ready["peer_id"]),
        (1, 384, node.ready["peer_id"]),
    ]
    explained = json.loads(command("router", "explain", "text-embedding", "--json", data_dir=node.data_dir).stdout)
    assert [candidate["peer"] for candidate in explained["candidates"]] == [node.ready["peer_id"]]
    assert "time" in command("router", "explain", "text-embedding", data_dir=node.data_dir).stdout
    assert node.ready["peer_id"] in command("peers", data_dir=node.data_dir).stdout
    address = next(address for address in node.ready["addresses"] if not address.endswith("/ws"))
    target = f"{address}/p2p/{node.ready['peer_id']}"
    joined = command("submit", "text-embedding", "a cat", "--json", "--join", target, data_dir=tmp_path / "client")
    assert joined.returncode == 0, joined.stderr
    (line,) = [json.loads(line) for line in joined.stdout.splitlines()]
    assert line["output"] == pytest.approx(lines[0]["output"], abs=1e-4)
    assert line["peer"] == node.ready["peer_id"]
    assert line["receipt"]
    unknown = command("submit", "text-embeding", "x", data_dir=node.data_dir)
    assert unknown.returncode == 4
    assert "text-embedding" in unknown.stderr


def test_nobody_to_join_is_said(tmp_path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        target = (
            f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
        )
        done = command("submit", "text-embedding", "x", "--join", target, data_dir=tmp_path / "client")
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1


def test_nothing_listens_beyond_loopback_by_default(tmp_path: Path, nodes: list[Node]) -> None:
    node = start(nodes, tmp_path / "n")
    inodes = set()
    for link in Path(f"/proc/{node.process.pid}/fd").iterdir():
        try:
            inodes.add(str(link.readlink()))
        except OSError:
            continue
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{node.process.pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and f"socket:[{columns[9]}]" in inodes:
                listening.append(columns[1].split(":")[0])
    assert len(listening) == 2
    assert set(listening) == {"0100007F"}  # 127.0.0.1, little-endian
