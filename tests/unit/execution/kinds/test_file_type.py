from __future__ import annotations

import pytest

from swarmharness.errors import InputError
from swarmharness.execution.items import shorten_file
from swarmharness.execution.kinds.file_type import Config, features, read_config

VALUES = {
    "beg_size": 4,
    "mid_size": 0,
    "end_size": 4,
    "use_inputs_at_offsets": False,
    "padding_token": 256,
    "block_size": 16,
    "min_file_size_for_dl": 2,
    "target_labels_space": ["a", "b"],
    "medium_confidence_threshold": 0.5,
    "thresholds": {},
    "overwrite_map": {},
}


def row(data: bytes, config: Config | None = None) -> list[int] | None:
    array = features(data, config or read_config(VALUES))
    return None if array is None else array.tolist()


def test_a_long_file_shows_its_two_ends() -> None:
    assert row(b"ABCDEFGHIJKL") == [*b"ABCD", *b"IJKL"]


def test_white_space_at_the_outer_ends_is_no_content() -> None:
    assert row(b"\n  ABCDE \t") == [*b"ABCD", *b"BCDE"]


def test_a_short_file_is_padded_inwards() -> None:
    assert row(b"AB") == [65, 66, 256, 256, 256, 256, 65, 66]


def test_too_little_content_is_left_to_simpler_rules() -> None:
    assert row(b"") is None
    assert row(b"           A") is None


def test_a_file_without_its_middle_looks_the_same() -> None:
    config = read_config({**VALUES, "beg_size": 1024, "end_size": 1024, "block_size": 4096})
    data = bytes(index * 7 % 251 for index in range(50_000))
    assert row(shorten_file(data), config) == row(data, config)


@pytest.mark.parametrize("change", [{"mid_size": 8}, {"use_inputs_at_offsets": True}, {"block_size": 8192}])
def test_a_model_with_other_windows_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="other windows"):
        read_config({**VALUES, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match=r"config\.json lacks 'beg_size'"):
        read_config({name: value for name, value in VALUES.items() if name != "beg_size"})
