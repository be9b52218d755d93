from __future__ import annotations

from typing import Any

import pytest

from swarmharness.cli.options import print_fields
from swarmharness.cli.status_text import NAMES_SHOWN, REFUSALS_SHOWN, few, status_for_people


def status(**more: Any) -> dict[str, Any]:
    return {
        "work": {},
        "set_aside": [],
        "connections": {"serving": 1, "idle": 0, "half_open": 2, "dropped": {"connection: no hello": 7}},
        "registry": {"skills": {}, "clocks": {"compared": 1, "ahead_s": {}}, "problems": []},
        "attacks": [],
        "refusals": [],
        **more,
    }


def test_names_that_others_chose_are_few_and_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    skills = {f"\x1b[2Jskill {number}": 1 for number in range(500)} | {"text-embedding": 3}
    clocks = {"compared": 500, "ahead_s": {f"peer {number}": -900 - number for number in range(500)}}
    refusals = [{"reason": "hello", "count": 2, "text": f"text {number}"} for number in range(64)]
    registry = {"skills": skills, "clocks": clocks, "problems": []}
    shown = status_for_people(status(registry=registry, refusals=refusals))
    print_fields(shown)
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "text-embedding (3), \\x1b[2Jskill 0 (1)" in out
    assert "and 493 more: --json has them" in out
    assert "peer 499 (-1,399)" in out
    assert len(shown["refusals"]) == REFUSALS_SHOWN + 1
    assert out.count("\n") < 40


def test_few_names_are_all_shown() -> None:
    assert few({}) == "-"
    assert few({"b": 1, "a": 1, "c": 2}) == "c (2), a (1), b (1)"
    assert few({str(number): number for number in range(NAMES_SHOWN)}).count("more") == 0


def test_connections_are_told_by_stage_and_by_why_they_went() -> None:
    text = status_for_people(status())["connections"]
    assert text == "1 serving, 0 idle, 2 half-open; refused or dropped: 7 for no hello"
