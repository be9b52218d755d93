"""Keeps the inputs of one job and their answers in one order, within a window; it sends nothing and waits for nothing.

Whoever reads the inputs and hands out the results owns it; what the node answered is passed in. Every input that was
read gets exactly one result: the node's answer, the reason why it cannot be used, or why the job ended before it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from swarmharness.client.records import Result
from swarmharness.client.values import item_of, output_of
from swarmharness.errors import InputError, SwarmError, error_from_kind
from swarmharness.execution.ports import TRUNCATED, Item
from swarmharness.execution.skill import Kind

if TYPE_CHECKING:
    from swarmharness.client.values import Input

WINDOW_BYTES = 64 * 2**20
"""A job reads no further input while items of so many bytes, sent or not, have no result that was handed out."""


class InputWindow:
    """Inputs that were read and whose result was not handed out yet, oldest first."""

    def __init__(self, kind: Kind, window_items: int, window_bytes: int = WINDOW_BYTES) -> None:
        self._kind = kind
        self._window_items = window_items
        self._window_bytes = window_bytes
        self._waiting: deque[tuple[int, SwarmError | None]] = deque()
        """Size of each item, and the reason if it cannot be used."""
        self._bytes = 0
        self._handed_out = 0
        self._input_ended = False
        self.input_failure: Exception | None = None
        """What the program's own iterable raised; it is due when all inputs before it have their results."""

    @property
    def input_ended(self) -> bool:
        """Whether no input can come any more."""
        return self._input_ended

    @property
    def full(self) -> bool:
        """Whether no further input is to be read now."""
        return len(self._waiting) >= self._window_items or self._bytes >= self._window_bytes

    @property
    def roomy(self) -> bool:
        """Whether a quarter of the window is free: reading on from there sends items in batches, not one by one."""
        return len(self._waiting) <= self._window_items * 3 // 4 and self._bytes <= self._window_bytes * 3 // 4

    @property
    def done(self) -> bool:
        """Whether every input has had its result, and no more come."""
        return self._input_ended and not self._waiting

    def take(self, value: Input) -> Item:
        """Return the item to send for the next input, or why it cannot be used, which is then its result."""
        try:
            item = item_of(self._kind, value)
        except SwarmError as error:
            self._waiting.append((0, error))
            return str(error) or "it cannot be used"
        self._waiting.append((len(item), None))
        self._bytes += len(item)
        return item

    def end(self, failure: Exception | None = None) -> None:
        """Note that the input has ended, or what ended it."""
        self._input_ended = True
        self.input_failure = failure

    def result(self, answers: deque[Mapping[str, Any]], over: SwarmError | None) -> Result | None:
        """Return the next result in input order, None while it is not there.

        `answers` are the node's, in the order in which items were sent; `over` is why the job will give no more.
        """
        if not self._waiting:
            return None
        size_bytes, error = self._waiting[0]
        if answers:
            answer = answers.popleft()
            result = _result(self._kind, self._handed_out, answer) if error is None else None
        elif over is None:
            return None
        else:
            result = None
        result = result or unanswered(self._handed_out, error or over)
        self._waiting.popleft()
        self._bytes -= size_bytes
        self._handed_out += 1
        return result


def unanswered(index: int, error: SwarmError | None) -> Result:
    """Return the result of an input that nobody answered."""
    return Result(index, None, "", 0.0, "", verified=False, error=error)


def named(result: Result) -> SwarmError:
    """Return the error of a result, as its stream raises it: of the same type, and saying of which input."""
    return type(result.error or SwarmError())(f"input {result.index}: {result.error}")


def _result(kind: Kind, index: int, answer: Mapping[str, Any]) -> Result:
    error: SwarmError | None = None
    output = None
    if answer["error"]:
        error = error_from_kind(answer["error_kind"] or InputError.kind, answer["error"])
    else:
        try:
            output = output_of(kind, answer["output"])
        except SwarmError as found:
            error = type(found)(f"{answer['peer']} sent no valid output: {found}")
    return Result(
        index=index,
        output=output,
        peer=answer["peer"],
        service_ms=answer["service_ms"],
        receipt=answer["receipt"],
        verified=bool(answer.get("verified", False)),
        truncated=bool(answer.get("flags", 0) & TRUNCATED),
        error=error,
        model_digest=answer.get("model_digest", ""),
    )
