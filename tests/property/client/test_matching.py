"""Whatever inputs and answers come in whatever order: one result each, in the order of inputs."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.client.matching import InputWindow
from swarmharness.client.records import Result
from swarmharness.errors import DeadlineError, InputError
from tests.unit.client.test_matching import TASK, answer


@given(st.lists(st.sampled_from(["good", "bad", "answer", "wrong"])), st.integers(1, 5))
def test_results_come_in_the_order_of_inputs_and_never_more_than_one_each(moves: list[str], items: int) -> None:
    window = InputWindow(TASK, items)
    given: deque[Mapping[str, Any]] = deque()
    expected: list[str] = []
    sent = 0
    found: list[Result] = []
    for move in moves:
        if move in ("good", "bad"):
            if window.full:
                continue
            value: Any = b"x" if move == "good" else object()
            window.take(value)
            sent += 1
            expected.append(move)
        elif sent:
            sent -= 1
            given.append(answer() if move == "answer" else answer(output=b"?"))
        while (each := window.result(given, None)) is not None:
            found.append(each)
    window.end()
    while (each := window.result(given, DeadlineError("over"))) is not None:
        found.append(each)
    assert window.done
    assert [each.index for each in found] == list(range(len(expected)))
    assert all(isinstance(each.error, InputError) for each, kind in zip(found, expected, strict=True) if kind == "bad")
