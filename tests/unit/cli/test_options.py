from __future__ import annotations

import json
from pathlib import Path

import pytest

from swarmharness.cli.options import (
    WIDTH_LEAST,
    checked,
    json_text,
    print_fields,
    print_json,
    print_records,
    print_table,
    say,
)
from swarmharness.errors import ConfigurationError


def test_json_is_one_line_with_bytes_in_hexadecimal(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": b"\x01\xff", "b": [1, None], "c": Path("/x"), "d": "é\n"})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {"a": "01ff", "b": [1, None], "c": "/x", "d": "é\n"}


def test_a_table_aligns_numbers_and_takes_brackets_literally(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("title", ("name", "count"), [("a[red]", 5), ("b", 100)])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["title", "name    count", "a[red]      5", "b         100"]


def test_fields_are_aligned_and_nested_records_become_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields({"peer_id": "x", "ok": True, "list": ["a", "b"], "skills": [{"name": "n", "ms": 2}], "none": {}})
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "peer id  x",
        "ok       yes",
        "list     a",
        "         b",
        "skills:",
        "name  ms",
        "n      2",
        "none     -",
    ]


def test_a_table_is_no_wider_than_a_hundred_characters_in_a_pipe_or_than_columns_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = ("p" * 300, "a reason of many words, which goes on and on " * 5, 1)
    for columns, width in ((None, 100), ("60", 60), ("nonsense", 100), ("3", WIDTH_LEAST)):
        monkeypatch.delenv("COLUMNS", raising=False)
        if columns is not None:
            monkeypatch.setenv("COLUMNS", columns)
        print_table("", ("peer", "reason", "n"), [row])
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert max(map(len, lines)) <= width
        assert "…" in out
        assert lines[-1] == "(shortened; --json has all of it)"
        assert out.count("goes") == 5


def test_records_share_the_columns_of_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    print_records([{"a_b": 1.23456, "c": None}, {"a_b": 2.0, "c": ["x", "y"]}])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["a", "b", "c"], ["1.23", "-"], ["2", "x,", "y"]]


def test_a_checked_option_names_the_flag() -> None:
    assert checked("--x", None, lambda text: "is bad") == ()
    assert checked("--x", ["a"], lambda text: None) == ("a",)
    with pytest.raises(ConfigurationError, match=r"^--x is bad$"):
        checked("--x", ["a"], lambda text: "is bad")


def test_json_holds_nothing_that_steers_a_terminal_and_says_the_same() -> None:
    value = {"a\x9b": "\x1b[2J \x7f\x9b\u202e\u2028 é 😀 \U000e0001"}
    text = json_text(value, "utf-8")
    assert json.loads(text) == value
    assert text.isprintable()
    assert "é 😀" in text


def test_what_others_wrote_is_escaped_wherever_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[2J\nb\u202e"
    print_table("", ("name",), [(evil,)])
    print_fields({evil: evil, "list": [evil], "records": [{"name": evil}]})
    say(f"it says {evil}")
    out = capsys.readouterr().out
    assert out.count(r"a\x1b[2J b\u202e") == 6
    assert all(line.isprintable() for line in out.splitlines())
