from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.node.data_dir import DataDir
from swarmharness.node.pause_file import NAME, PauseFile
from swarmharness.owner.ports import Pause


@pytest.fixture
def directory(tmp_path: Path) -> DataDir:
    directory = DataDir.at(tmp_path / "node")
    directory.create()
    return directory


@pytest.mark.parametrize("pause", [Pause(), Pause(1_800_000_000, 20), None])
def test_what_is_saved_is_loaded_and_private(directory: DataDir, pause: Pause | None) -> None:
    file = PauseFile(directory)
    file.save(Pause(1))
    file.save(pause)
    assert PauseFile(directory).load() == pause
    assert (directory.path / NAME).exists() == (pause is not None)
    if pause is not None:
        assert (directory.path / NAME).stat().st_mode & 0o777 == 0o600


def test_no_file_is_no_pause_and_removing_none_is_fine(directory: DataDir) -> None:
    file = PauseFile(directory)
    assert file.load() is None
    file.save(None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\x00",
        b"null",
        b"[]",
        b'{"version": 2, "until_unix_s": 1}',
        b'{"version": 1, "until_unix_s": "tomorrow"}',
        b'{"version": 1, "until_unix_s": true}',
        b'{"version": 1, "until_unix_s": -1}',
        b'{"version": 1, "until_unix_s": 1e999}',
        b'{"version": 1, "until_unix_s": 1, "for_s": null}',
        b'{"version": 1, "until_unix_s": 1, "for_s": 9999999999}',
        b"[" * 4000,
    ],
)
def test_a_damaged_file_is_a_pause_without_end(directory: DataDir, text: bytes) -> None:
    directory.write_secret(NAME, text)
    assert PauseFile(directory).load() == Pause()


def test_a_file_that_others_can_read_is_a_pause_too(directory: DataDir) -> None:
    PauseFile(directory).save(Pause(1))
    (directory.path / NAME).chmod(0o644)
    assert PauseFile(directory).load() == Pause()


def test_a_folder_that_is_gone_refuses_with_what_to_do(directory: DataDir) -> None:
    (directory.path / NAME).mkdir()
    with pytest.raises(ConfigurationError, match=NAME):
        PauseFile(directory).save(None)


def test_a_file_of_a_release_that_wrote_no_duration_is_read(directory: DataDir) -> None:
    directory.write_secret(NAME, b'{"version": 1, "until_unix_s": 1800000000}')
    assert PauseFile(directory).load() == Pause(1_800_000_000, 366 * 86_400)
