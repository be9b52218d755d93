from __future__ import annotations

import io
import logging

import pytest

from swarmharness.log_lines import EVERY_S, KINDS_MAX, LINE_CHARS_MAX, Pace, by_peers, log_handler


class Written:
    """A logger with the handler of a node, and what it wrote."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.stream = io.StringIO()
        self.log = logging.Logger("a")
        self.log.addHandler(log_handler(self.stream, lambda: self.now_s))

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


def test_a_kind_that_peers_cause_is_written_once_a_minute_with_how_many_were_held_back() -> None:
    written = Written()
    for number in range(100):
        written.log.warning("it failed: %d", number, extra=by_peers())
    written.log.warning("something else of %s", "a peer", extra=by_peers())
    written.now_s = EVERY_S
    written.log.warning("it failed: %d", 100, extra=by_peers())
    assert written.lines == [
        "WARNING a: it failed: 0",
        "WARNING a: something else of a peer",
        "WARNING a: it failed: 100 (99 more like this since the last one)",
    ]


def test_what_no_peer_causes_is_always_written() -> None:
    written = Written()
    for _ in range(3):
        written.log.warning("the disk is full")
    assert len(written.lines) == 3


def test_one_template_may_have_several_kinds() -> None:
    written = Written()
    for name in ("one", "two", "one"):
        written.log.warning("%s failed", name, extra=by_peers(name))
    assert len(written.lines) == 2


def test_a_line_is_escaped_and_short_and_a_trace_keeps_its_lines() -> None:
    written = Written()
    try:
        raise ValueError("\x1b[2Jred\u202e" + "x" * 2 * LINE_CHARS_MAX)
    except ValueError:
        written.log.exception("failed", extra=by_peers())
    assert written.lines[0] == "ERROR a: failed"
    assert written.lines[1].startswith("Traceback")
    assert written.lines[-1].startswith(r"ValueError: \x1b[2Jred\u202exxx")
    assert len(written.lines[-1]) == LINE_CHARS_MAX


def test_kinds_without_end_keep_nothing_that_grows() -> None:
    pace = Pace()
    for number in range(3 * KINDS_MAX):
        assert pace.due(number, 0.0) == 0
    assert pace.due(3 * KINDS_MAX - 1, 0.0) is None
    assert len(pace._kinds) == KINDS_MAX


@pytest.mark.parametrize("now_s", [0.0, -1e9, 1e9])
def test_the_first_of_a_kind_is_written_whatever_the_clock_says(now_s: float) -> None:
    written = Written()
    written.now_s = now_s
    written.log.error("first", extra=by_peers())
    assert len(written.lines) == 1
