from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError, MistakesError, SwarmError
from swarmharness.execution.onnx_inspection import facts_from_json
from swarmharness.execution.skill import parse_manifest
from swarmharness.json_text import read_json
from swarmharness.node.chosen_ports import _read
from swarmharness.node.config_schema import Source, toml_table
from swarmharness.routing.candidate import snapshot_from_json

DEEP = "[" * 100_000
LONG_NUMBER = "9" * 5_000
"""More digits than Python turns into a number."""


def test_json_is_read_with_the_hooks_that_are_given() -> None:
    assert read_json('{"a": [1, null]}') == {"a": [1, None]}
    assert read_json(b'{"a": 1, "a": 2}', object_pairs_hook=list) == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("text", ["", "{", DEEP, '{"a":' * 100_000, LONG_NUMBER, b"\xff", "nope"])
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind and with any words
        read_json(text)


def test_a_file_of_ports_that_blows_up_costs_new_ports_only(tmp_path: Path) -> None:
    path = tmp_path / "ports.json"
    for text in (DEEP, LONG_NUMBER, '{"a": 1e999}', '{"a": "x"}'):
        path.write_text(text)
        assert _read(path) == {}


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (lambda text: toml_table(Source("c.toml", f"a = {text}")), ConfigurationError),
        (lambda text: parse_manifest(f"a = {text}", "skill.toml"), MistakesError),
        (snapshot_from_json, SwarmError),
        (facts_from_json, ValueError),
    ],
    ids=["configuration", "manifest", "snapshot", "facts"],
)
@pytest.mark.parametrize("text", [DEEP, LONG_NUMBER], ids=["deep", "a long number"])
def test_files_that_blow_up_get_a_sentence(read: Callable[[str], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error):
        read(text)
