"""How a simulation is played that is interrupted, never ends, or fails with an error of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

import pytest

from swarmharness.node.config_schema import Source
from swarmharness.simulation import playing
from swarmharness.simulation.checks import Violation
from swarmharness.simulation.playing import ENDLESS, STUCK, kept_text, play
from swarmharness.simulation.scenario import parse_scenario
from swarmharness.simulation.shrink import Shrunk
from tests.unit.simulation.samples import small


def raising(error: BaseException) -> Callable[..., NoReturn]:
    def simulate(*_: object) -> NoReturn:
        raise error

    return simulate


@pytest.mark.parametrize("grouped", [True, False], ids=["in a nursery", "before another error"])
def test_ctrl_c_ends_the_player_whatever_else_it_made_fail(grouped: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ValueError("at the end")
    if not grouped:
        other.__context__ = KeyboardInterrupt()
    ended = BaseExceptionGroup("nursery", [other, *([KeyboardInterrupt()] if grouped else [])])
    monkeypatch.setattr(playing, "simulate", raising(ended))
    with pytest.raises(KeyboardInterrupt):
        play(small(), 1)


def spin() -> NoReturn:
    while True:
        pass


def fail_when_interrupted(*_: object) -> NoReturn:
    try:
        spin()
    except BaseException as error:
        raise ExceptionGroup("nursery", [ValueError("at the end"), RuntimeError("too")]) from error


def spin_while_an_error_is_handled(*_: object) -> NoReturn:
    try:
        raise ValueError("an earlier one")
    except ValueError:
        spin()


def swallow_the_first(*_: object) -> NoReturn:
    with suppress(BaseException):
        spin()
    spin()


@pytest.mark.parametrize("simulate", [fail_when_interrupted, spin_while_an_error_is_handled, swallow_the_first])
def test_what_never_ends_is_endless_whatever_else_fails_or_is_swallowed(
    simulate: Callable[..., NoReturn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playing, "simulate", simulate)
    violation = play(small(), 1, time_max_s=0.05)
    assert violation is not None
    assert violation.invariant == ENDLESS


def test_an_error_of_several_lines_is_kept_in_a_file_that_can_be_played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playing, "simulate", raising(AssertionError("one\nand = another\x1b")))
    violation = play(small(), 1)
    assert isinstance(violation, Violation)
    assert violation.invariant == STUCK
    text = kept_text(Shrunk(small(), 1, violation, 0), "two\nlines", "abc")
    assert parse_scenario(Source("kept.toml", text)) == small()
