from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.identity import Identity
from swarmharness.node.data_dir import DATA_DIR_VARIABLE, LOCK_RETRY_S, DataDir, cache_dir, default_data_dir


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    made = DataDir.at(tmp_path / "node")
    made.create()
    return made


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_default_places_follow_the_xdg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_DIR_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_data_dir() == Path("/data/swarmharness")
    assert cache_dir() == Path("/home/someone/.cache/swarmharness")
    monkeypatch.setenv(DATA_DIR_VARIABLE, "/elsewhere")
    assert default_data_dir() == Path("/elsewhere")
    assert DataDir.at(Path("/named")).path == Path("/named")


def test_the_directory_and_the_key_are_private(directory: DataDir) -> None:
    directory.identity()
    assert mode(directory.path) == 0o700
    assert mode(directory.identity_file) == 0o600


def test_the_peer_id_stays_the_same_across_starts(directory: DataDir) -> None:
    first = directory.identity()
    assert directory.identity().peer_id == first.peer_id
    assert directory.identity_file.read_bytes() == first.seed


def test_creating_a_key_leaves_no_temporary_file_and_replaces_none(directory: DataDir) -> None:
    directory.write_secret("identity.key", bytes(32), replace=False)
    directory.write_secret("identity.key", b"\1" * 32, replace=False)
    assert directory.identity().peer_id == Identity(bytes(32)).peer_id
    assert [path.name for path in directory.path.iterdir()] == ["identity.key"]


def test_a_key_that_others_can_read_is_refused(directory: DataDir) -> None:
    directory.identity()
    directory.identity_file.chmod(0o640)
    with pytest.raises(ConfigurationError, match="can be read by others: chmod 600"):
        directory.identity()


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_refused_and_kept(directory: DataDir, content: bytes) -> None:
    directory.write_secret("identity.key", content)
    with pytest.raises(ConfigurationError, match=r"is damaged .* restore it from a backup"):
        directory.identity()
    assert directory.identity_file.read_bytes() == content


def test_a_directory_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir()
    path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="others can write"):
        DataDir(path).create()


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match="a file stands where a directory should be"):
            DataDir(path).create()


def test_a_full_disk_is_reported_with_its_remedy(directory: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigurationError, match="No space left on device; free some space"):
        directory.identity()
    assert list(directory.path.iterdir()) == []


def test_a_second_holder_is_told_the_pid_of_the_first(directory: DataDir) -> None:
    assert directory.holder_pid() is None
    with directory.lock():
        assert directory.holder_pid() == os.getpid()
        with pytest.raises(ConfigurationError, match=f"in use by the node with pid {os.getpid()}"), directory.lock():
            pass
    assert directory.holder_pid() is None
    with directory.lock():
        pass


def test_a_killed_holder_leaves_no_lock(directory: DataDir) -> None:
    program = (
        "import sys; from pathlib import Path; from swarmharness.node.data_dir import DataDir\n"
        "with DataDir(Path(sys.argv[1])).lock(): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(directory.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert directory.holder_pid() == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert directory.holder_pid() is None


@pytest.mark.parametrize("kept_s", [0.0, LOCK_RETRY_S])
def test_who_only_asks_who_holds_a_directory_keeps_no_node_from_starting(directory: DataDir, kept_s: float) -> None:
    handle = os.open(directory.path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_SH)
    asker = threading.Timer(kept_s, os.close, (handle,))
    asker.start()
    with directory.lock():
        pass
    asker.join()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "~"])
def test_a_home_directory_that_is_not_there_is_said_so(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("HOME")
    nobody: dict[int, str] = {}
    monkeypatch.setattr("pwd.getpwuid", nobody.__getitem__)
    with pytest.raises(ConfigurationError, match="no such home directory"):
        DataDir.at(Path(name))
    for variable in ("SWARMHARNESS_DATA_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConfigurationError, match="set HOME or XDG_DATA_HOME"):
        DataDir.at(None)
    with pytest.raises(ConfigurationError, match="set HOME or XDG_CACHE_HOME"):
        cache_dir()
