"""This side's calls on one channel: their turns, credit, deadlines and answers; it never reads the stream."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NoReturn

import trio

from swarmharness.errors import DeadlineError, InputError, PeerLostError, ProtocolError, SwarmError
from swarmharness.network.outbox import Outbox
from swarmharness.protocol.frame import METHOD_BYTES_MAX, U32_MAX, FrameKind, encode_frame, encode_request

_CANCEL = int(FrameKind.CANCEL)


class BulkAnswer:
    """Says that the answer is still arriving on its own stream."""

    __slots__ = ("request_id", "size")

    def __init__(self, request_id: int, size: int) -> None:
        self.request_id = request_id
        self.size = size


Answer = bytes | BulkAnswer


class Calls:
    """Calls in flight, and those that wait until the peer's window and `calls_max` have room for them.

    `expire_at` is told each new deadline; whoever watches the time calls `expire` then.
    """

    def __init__(
        self, outbox: Outbox, calls_max: int, first_request_id: int, expire_at: Callable[[float], None]
    ) -> None:
        self._outbox = outbox
        self._calls_max = calls_max
        self._expire_at = expire_at
        self._calls: dict[int, _Call] = {}
        self._turns: deque[_Turn] = deque()
        self._in_flight = 0
        self._used_bytes = 0
        self._window_bytes = 0
        self._request_id = first_request_id % U32_MAX
        self._ended = ""
        self.left: Callable[[], None] = lambda: None
        """Called when a call is over."""

    @property
    def in_progress(self) -> int:
        """Calls in flight or waiting for their turn."""
        return self._in_flight + len(self._turns)

    def set_window(self, window_bytes: int) -> None:
        """Note how many request bytes the peer takes unfinished."""
        self._window_bytes = window_bytes

    async def exchange(
        self,
        kind: int,
        method: str,
        payload: bytes,
        deadline: float,
        timeout_s: float,
        *,
        sent: Callable[[int], None] | None = None,
    ) -> Answer:
        """Send one call and return its answer; raises the SwarmError that ended it. `sent` is told its number."""
        if self._ended:
            raise PeerLostError(self._ended)
        name = method.encode()
        if not 0 < len(name) <= METHOD_BYTES_MAX:
            raise InputError(f"a method's name has 1 to {METHOD_BYTES_MAX} bytes, not {len(name)}")
        size = 5 + len(name) + len(payload)
        if self._turns or not self._admits(size):
            await self._take_turn(size, deadline, method)
        else:
            self._used_bytes += size
            self._in_flight += 1
        request_id = self._next_id()
        call = _Call(self, request_id, deadline)
        self._calls[request_id] = call
        self._expire_at(deadline)
        timeout_ms = min(max(int((deadline - trio.current_time()) * 1000), 1), U32_MAX)
        self._outbox.send(encode_request(kind, request_id, timeout_ms, name, payload))
        if sent is not None:
            sent(request_id)
        try:
            return await call.wait()
        except _ExpiredError:
            raise DeadlineError(f"{method}: no answer within {timeout_s:g} s") from None
        finally:
            self._in_flight -= 1
            if self._turns:
                self._admit()
            self.left()

    def answer(self, request_id: int, answer: Answer) -> None:
        """Hand an answer to its caller, unless that gave up meanwhile."""
        call = self._calls.pop(request_id, None)
        if call is not None:
            call.answer = answer
            trio.lowlevel.reschedule(call.task)

    def fail(self, request_id: int, error: SwarmError) -> None:
        """Raise an error in a caller, unless that gave up meanwhile."""
        call = self._calls.pop(request_id, None)
        if call is not None:
            call.error = error
            trio.lowlevel.reschedule(call.task)

    def give_back(self, size: int) -> None:
        """The peer has finished with request bytes; raises ProtocolError if there were not so many."""
        if size > self._used_bytes:
            raise ProtocolError("the peer gave back more credit than was used")
        self._used_bytes -= size
        self._admit()

    def expire(self, now: float) -> float:
        """End the calls that are past their deadline (invariant N-3); returns the earliest deadline left."""
        for request_id, call in list(self._calls.items()):
            if call.deadline <= now:
                self._outbox.send(encode_frame(_CANCEL, request_id))
                self.fail(request_id, _ExpiredError())
        return min((call.deadline for call in self._calls.values()), default=math.inf)

    def abandon(self, request_id: int) -> None:
        """A caller was cancelled: so is the handler."""
        self._calls.pop(request_id, None)
        self._outbox.send(encode_frame(_CANCEL, request_id))

    def end(self, reason: str) -> None:
        """Raise PeerLostError in every caller, now and from now on."""
        self._ended = f"the channel ended: {reason}"
        for request_id in list(self._calls):
            self.fail(request_id, PeerLostError(self._ended))
        for turn in self._turns:
            turn.event.set()
        self._turns.clear()

    def _next_id(self) -> int:
        request_id = self._request_id
        while True:
            request_id = request_id % U32_MAX + 1
            if request_id not in self._calls:
                self._request_id = request_id
                return request_id

    def _admits(self, size: int) -> bool:
        return self._used_bytes + size <= self._window_bytes and self._in_flight < self._calls_max

    async def _take_turn(self, size: int, deadline: float, method: str) -> None:
        """Wait, first come first served, until there is room."""
        if size > self._window_bytes:
            raise InputError(f"{method}: {size} bytes exceed the peer's window of {self._window_bytes} bytes")
        turn = _Turn(size)
        self._turns.append(turn)
        try:
            with trio.move_on_at(deadline):
                await turn.event.wait()
        except BaseException:
            if turn.admitted:  # cancelled just after its turn came
                self._in_flight -= 1
                self._used_bytes -= size
            self._forget(turn)
            raise
        if self._ended:
            raise PeerLostError(self._ended)
        if not turn.admitted:
            self._forget(turn)
            raise DeadlineError(f"{method}: the peer was too busy to take the call in time")

    def _forget(self, turn: _Turn) -> None:
        if turn in self._turns:
            self._turns.remove(turn)
        self._admit()
        self.left()

    def _admit(self) -> None:
        while self._turns and self._admits(self._turns[0].size):
            turn = self._turns.popleft()
            turn.admitted = True
            self._in_flight += 1
            self._used_bytes += turn.size
            turn.event.set()


class _ExpiredError(DeadlineError):
    """This side's own deadline passed, as opposed to one that the peer reports."""


class _Call:
    """One call that waits for its answer."""

    __slots__ = ("_calls", "answer", "deadline", "error", "request_id", "task")

    def __init__(self, calls: Calls, request_id: int, deadline: float) -> None:
        self._calls = calls
        self.request_id = request_id
        self.deadline = deadline
        self.task = trio.lowlevel.current_task()
        self.answer: Answer = b""
        self.error: SwarmError | None = None

    async def wait(self) -> Answer:
        """Return the answer, or raise what was reported instead."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self.error is not None:
            raise self.error
        return self.answer

    def _abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._calls.abandon(self.request_id)
        return trio.lowlevel.Abort.SUCCEEDED


class _Turn:
    """One call that waits for room."""

    __slots__ = ("admitted", "event", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.event = trio.Event()
        self.admitted = False
