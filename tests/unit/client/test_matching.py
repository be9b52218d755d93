"""Every input gets exactly one result, in order, whatever happens; nothing is read beyond the window."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import pytest

from swarmharness.client.matching import InputWindow
from swarmharness.client.records import Result
from swarmharness.client.values import FileType, item_of
from swarmharness.errors import DeadlineError, InputError, ProtocolError, RefusedError
from swarmharness.execution.records import encode_record
from swarmharness.execution.skill import Kind

TASK = Kind.FILE_TYPE
OUTPUT = encode_record(["text", 0.5, "text/plain", "text"])
REFUSED = int(RefusedError.kind)


def answer(output: bytes = OUTPUT, error: str = "", kind: int | None = None) -> dict[str, Any]:
    return {
        "output": output,
        "error": error,
        "error_kind": kind,
        "peer": "peer",
        "service_ms": 1.5,
        "receipt": "ab",
    }


def answers(*given: Mapping[str, Any]) -> deque[Mapping[str, Any]]:
    return deque(given)


def result(window: InputWindow, given: deque[Mapping[str, Any]]) -> Result:
    found = window.result(given, None)
    assert found is not None
    return found


def test_an_answer_becomes_the_result_of_the_oldest_input() -> None:
    window = InputWindow(TASK, 10)
    assert window.take(b"first") == b"first"
    assert window.result(answers(), None) is None
    found = result(window, answers(answer()))
    assert found.ok
    assert (found.index, found.peer, found.service_ms, found.receipt) == (0, "peer", 1.5, "ab")
    assert found.output == FileType("text", 0.5, "text/plain", "text")
    assert not found.verified
    assert window.result(answers(answer()), None) is None, "nobody asked for a second answer"


def test_an_input_that_cannot_be_sent_has_its_result_between_those_of_its_neighbours() -> None:
    window = InputWindow(TASK, 10)
    given = answers(answer(), answer(error="it came back"), answer())
    sent = [window.take(value) for value in (b"a", "no bytes", b"c")]
    assert sent == [b"a", str(item_error("no bytes")), b"c"]
    found = [result(window, given) for _ in range(3)]
    assert [each.index for each in found] == [0, 1, 2]
    assert [each.ok for each in found] == [True, False, True]
    assert isinstance(found[1].error, InputError)
    assert str(found[1].error) == sent[1]


def item_error(value: str) -> InputError:
    with pytest.raises(InputError) as caught:
        item_of(TASK, value)
    return caught.value


def test_errors_of_the_node_and_invalid_outputs_are_errors_of_their_kind() -> None:
    window = InputWindow(TASK, 10)
    for _ in range(3):
        window.take(b"x")
    given = answers(answer(error="bad file"), answer(error="no credit", kind=REFUSED), answer(output=b"\xc1"))
    errors = [result(window, given).error for _ in range(3)]
    assert [type(error) for error in errors] == [InputError, RefusedError, ProtocolError]
    assert [str(error) for error in errors][:2] == ["bad file", "no credit"]
    assert str(errors[2]).startswith("peer sent no valid output: ")


def test_when_the_job_is_over_what_was_answered_comes_first_and_the_rest_gets_the_reason() -> None:
    window = InputWindow(TASK, 10)
    for _ in range(3):
        window.take(b"x")
    given, over = answers(answer()), DeadlineError("too late")
    found = [window.result(given, over) for _ in range(4)]
    assert [each and each.error for each in found] == [None, over, over, None]
    assert not window.done
    window.end()
    assert window.done


@pytest.mark.parametrize(("items", "sizes", "full"), [(2, [1, 1], True), (2, [1], False), (9, [60, 40], True)])
def test_the_window_is_full_by_items_or_by_bytes(items: int, sizes: list[int], full: bool) -> None:
    window = InputWindow(TASK, items, 100)
    for size in sizes:
        assert not window.full
        window.take(bytes(size))
    assert window.full is full
    result(window, answers(answer()))
    assert not window.full
