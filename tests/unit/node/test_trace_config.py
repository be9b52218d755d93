from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.node.config import Config, load_config
from swarmharness.node.config_changes import Change, changes


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(f"version = 1\n[trace]\n{text}\n")
    return path


def test_no_trace_is_written_unless_a_file_is_named(tmp_path: Path) -> None:
    assert Config().trace.file == ""
    assert load_config(written(tmp_path, "max_mib = 5")).trace.file == ""


def test_a_relative_trace_lies_in_the_folder_of_the_configuration(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, 'file = "t.jsonl"')).trace.file == str(tmp_path / "t.jsonl")
    assert load_config(written(tmp_path, f'file = "{tmp_path}/elsewhere"')).trace.file == f"{tmp_path}/elsewhere"


@pytest.mark.parametrize("text", ["max_mib = 0", "max_mib = 1.5", "file = 3", "files = 'x'"])
def test_a_wrong_key_of_the_trace_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"\[trace\] "):
        load_config(written(tmp_path, text))


def test_a_trace_that_is_switched_on_is_told(tmp_path: Path) -> None:
    after = load_config(written(tmp_path, 'file = "t.jsonl"'))
    (change,) = changes(Config(), after)
    assert change == Change("trace.file", "", str(tmp_path / "t.jsonl"))
    assert change.live
