"""Starts what is to be done when something else takes too long; one task waits for all of it, and most never comes."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from heapq import heappop, heappush

import trio

Start = Callable[[], Awaitable[None]]


class Alarm:
    """One of them; without `start` it was called off."""

    __slots__ = ("start",)

    def __init__(self, start: Start) -> None:
        self.start: Start | None = start


class Alarms:
    """A task of its own for each wait would cost more than what is waited for. `run` starts those that are due."""

    def __init__(self) -> None:
        self._set: list[tuple[float, int, Alarm]] = []
        self._count = 0
        self._next = trio.CancelScope()
        """Its deadline is the time of the first alarm."""

    def set(self, after_s: float, start: Start) -> Alarm:
        """Have `start` run in so many seconds, as a task that must raise nothing, unless it is called off before."""
        alarm, at_s = Alarm(start), trio.current_time() + after_s
        self._count += 1
        heappush(self._set, (at_s, self._count, alarm))
        if at_s < self._next.deadline:
            self._next.deadline = at_s
        return alarm

    def call_off(self, alarm: Alarm) -> None:
        """Do not start it, if it was not started yet."""
        alarm.start = None
        if self._set and self._set[0][2] is alarm:
            self._start_due(-math.inf, None)

    async def run(self) -> None:
        """Start what is due until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                with self._next:
                    await trio.sleep_forever()
                self._next = trio.CancelScope()
                self._start_due(trio.current_time(), nursery)

    def _start_due(self, now_s: float, nursery: trio.Nursery | None) -> None:
        while self._set and (self._set[0][0] <= now_s or self._set[0][2].start is None):
            start = heappop(self._set)[2].start
            if start is not None and nursery is not None:
                nursery.start_soon(start)
        self._next.deadline = self._set[0][0] if self._set else math.inf
