"""A node as a service: it tells its manager when it is ready and when it stops; its unit is written and removed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.processes]
CONFIG = 'version = 1\n\n[network]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n\n[execution]\nskills = []\n'


@pytest.mark.parametrize("abstract", [False, True])
def test_a_node_tells_its_service_manager_that_it_is_ready_and_that_it_stops(tmp_path: Path, abstract: bool) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o700)
    (data_dir / "node.toml").write_text(CONFIG)
    address = f"@swarmharness-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if abstract else address)
        manager.settimeout(60)
        process = subprocess.Popen(
            [sys.executable, "-m", "swarmharness", "node", "start", "--data-dir", str(data_dir)],
            env={**os.environ, "NOTIFY_SOCKET": address},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert manager.recv(100) == b"READY=1"
            process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()


def test_the_unit_is_written_and_removed_and_the_data_stays(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    data_dir = tmp_path / "my data"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "swarmharness", "node", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = run("install-service", "--no-start", "--data-dir", str(data_dir))
    assert done.returncode == 0, done.stderr
    unit = tmp_path / "config" / "systemd" / "user" / "swarmharness.service"
    assert f'"--data-dir" "{data_dir}"' in unit.read_text()
    assert "systemctl --user enable --now swarmharness.service" in done.stderr
    assert run("uninstall-service").returncode == 0
    assert not unit.exists()
    assert "no service is installed" in run("uninstall-service").stderr


def test_a_configuration_that_is_wrong_is_said_before_anything_is_installed(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config")}
    broken = tmp_path / "broken.toml"
    broken.write_text("version = 1\nnonsense = 3\n")
    command = [sys.executable, "-m", "swarmharness", "node", "install-service", "--no-start", "--config", str(broken)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "config").exists()
