from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from swarmharness.identity import Identity
from swarmharness.network.addresses import reach
from swarmharness.node.data_dir import DataDir
from swarmharness.node.doctor import examine
from swarmharness.node.doctor_machine import Finding, clock, space
from swarmharness.node.doctor_network import addresses as judge_addresses


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def findings(directory: DataDir, config: Path | None = None) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for finding in examine(directory, config):
        found.setdefault(finding.check, []).append(finding)
        assert (finding.verdict == "ok") == (finding.remedy == ""), finding
    return found


def test_a_fresh_machine_passes_and_nothing_is_made(tmp_path: Path) -> None:
    found = findings(DataDir(tmp_path / "none"))
    failed = [finding for several in found.values() for finding in several if finding.verdict == "fail"]
    assert failed == []
    assert {finding.verdict for finding in found["model"]} == {"warn"}
    assert any(finding.remedy == "swarmharness skills pull text-embedding" for finding in found["model"])
    assert "CPUExecutionProvider" in found["execution providers"][0].detail
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_found(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.create()
    directory.identity()
    assert findings(directory)["key"][0].verdict == "ok"
    directory.identity_file.chmod(0o644)
    (key,) = findings(directory)["key"]
    assert key.verdict == "fail"
    assert "chmod 600" in key.remedy


def test_an_open_directory_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (open_directory,) = findings(DataDir(tmp_path))["data directory"]
    assert open_directory.verdict == "warn"


def test_a_mistake_in_the_configuration_is_found(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("version = 1\n[network]\nmdsn = true\n")
    (mistake,) = findings(DataDir(tmp_path), config)["configuration"]
    assert mistake.verdict == "fail"
    assert f"{config}:3: " in mistake.detail


def test_a_port_in_use_and_a_silent_bootstrap_peer_are_found(tmp_path: Path) -> None:
    peer = Identity(bytes(32)).peer_id
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # bound, but nobody listens
        port, silent_port = taken.getsockname()[1], silent.getsockname()[1]
        config = tmp_path / "node.toml"
        config.write_text(
            f'version = 1\n[network]\nlisten = ["/ip4/127.0.0.1/tcp/{port}", "/ip4/127.0.0.1/tcp/0"]\n'
            f'bootstrap = ["/ip4/127.0.0.1/tcp/{silent_port}/p2p/{peer}", "/ip4/127.0.0.1/tcp/{port}/p2p/{peer}"]\n'
        )
        found = findings(DataDir(tmp_path), config)
    assert [finding.verdict for finding in found["port"]] == ["fail", "ok"]
    assert found["port"][0].detail == f"/ip4/127.0.0.1/tcp/{port}: the port is in use"
    assert "/tcp/0" not in repr(found["port"])  # a port 0 is nothing that a person could use
    assert [finding.verdict for finding in found["bootstrap"]] == ["warn", "ok"]


def test_a_node_that_holds_the_directory_in_silence_is_found_and_its_ports_are_left_alone(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    directory.create()
    with directory.lock():
        found = findings(directory)
    assert found["node"][0].verdict == "fail"
    assert f"the process with pid {os.getpid()} uses the directory but does not answer" in found["node"][0].detail
    assert "kill" not in found["node"][0].remedy
    assert found["ports"][0].verdict == "ok"


@pytest.mark.parametrize(
    ("listening", "addresses", "verdict"),
    [
        (["/ip4/0.0.0.0/tcp/4001"], ["/ip4/192.0.2.7/tcp/4001"], "ok"),
        (["/ip4/127.0.0.1/tcp/4001"], ["/ip4/127.0.0.1/tcp/4001"], "ok"),
        (["/ip4/0.0.0.0/tcp/4001"], ["/ip4/127.0.0.1/tcp/4001"], "warn"),
        (["/ip4/192.0.2.7/tcp/4001"], [], "warn"),
        ([], [], "warn"),
    ],
)
def test_who_can_reach_the_running_node_is_said(listening: list[str], addresses: list[str], verdict: str) -> None:
    status = {"listening": listening, "addresses": addresses, "reach": reach(listening, addresses).value}
    finding = judge_addresses(status)
    assert finding.verdict == verdict
    assert (finding.verdict == "ok") == (finding.remedy == "")
    assert all(address in finding.detail for address in (addresses if verdict == "ok" else listening))


def test_a_broken_skill_folder_is_found(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    broken = directory.skills_folder / "mine"
    broken.mkdir(parents=True)
    (broken / "skill.toml").write_text("not toml [")
    (skill,) = findings(directory)["skill"]
    assert (skill.verdict, skill.remedy) == ("warn", f"mend or remove {broken}")


def test_too_little_space_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free, verdict in ((2**20, "fail"), (2**28, "warn"), (2**40, "ok")):
        monkeypatch.setattr("shutil.disk_usage", lambda path, free=free: usage._replace(free=free))
        assert space("space", tmp_path / "not" / "yet").verdict == verdict


def test_a_clock_before_our_own_files_is_found(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    assert clock(directory).verdict == "ok"
    later = time.time() + 3600
    os.utime(tmp_path, (later, later))
    assert clock(directory).verdict == "fail"
    assert "behind the newest file" in clock(directory).detail


def test_providers_that_this_machine_lacks_are_found(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text('version = 1\n[execution]\nproviders = ["cuda"]\n')
    (lacking,) = findings(DataDir(tmp_path), config)["execution providers"]
    assert lacking.verdict == "fail"
    assert lacking.detail.startswith("[execution] providers names cuda, and ONNX Runtime here has only ")
    assert 'add "cpu"' in lacking.remedy
