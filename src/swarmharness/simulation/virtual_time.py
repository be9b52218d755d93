"""Virtual time: a trio clock that jumps as soon as nothing can run, and the clocks of single nodes; it never waits.

`MockClock` with autojump needs two turns of trio's loop for each instant and a cancel scope for each sleep; this clock
needs one turn and keeps its own heap of sleepers, because most events of a simulation are messages on their way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import NoReturn

import trio

EPOCH_START_US = 1_800_000_000 * 1_000_000
"""Unix time at the start of every simulation."""
_PPM = 1_000_000
_IDLE_TURNS_MAX = 50
_IDLE_TURN_S = 0.01


class VirtualClock(trio.abc.Clock):
    """Pass it to `trio.run`. Time moves only while no task can run, to the next deadline or sleeper."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._sleepers: list[tuple[float, int, _Sleeper]] = []
        self._count = 0
        self._idle_turns = 0
        self.jumps = 0
        """How often time moved: the steps of the simulation."""
        self.stalled = False
        self.on_stall: Callable[[], None] = _nothing
        """Called when every task waits for another one: a deadlock, unless this cancels something."""
        self.on_jump: Callable[[], None] = _nothing
        """Called before each jump, when everything at the current instant has happened; it must not wait."""

    def start_clock(self) -> None:
        """See `trio.abc.Clock`."""

    def current_time(self) -> float:
        """See `trio.abc.Clock`."""
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """See `trio.abc.Clock`; trio asks only when no task can run, so this is where time moves."""
        self.on_jump()
        sleepers = self._sleepers
        while sleepers and sleepers[0][2].task is None:
            heappop(sleepers)
        target_s = min(deadline, sleepers[0][0]) if sleepers else deadline
        if math.isinf(target_s):
            return self._stall()
        self._idle_turns = 0
        if target_s > self._now_s:
            self._now_s = target_s
            self.jumps += 1
        while sleepers and sleepers[0][0] <= target_s:
            sleeper = heappop(sleepers)[2]
            if sleeper.task is not None:
                trio.lowlevel.reschedule(sleeper.task)
                sleeper.task = None
        return 0.0

    def _stall(self) -> float:
        """Nothing can happen by itself; but trio wakes itself through a socket, above all while it ends."""
        self._idle_turns += 1
        if self._idle_turns == _IDLE_TURNS_MAX:
            self.stalled = True
            self.on_stall()
        return _IDLE_TURN_S

    async def sleep(self, duration_s: float) -> None:
        """Do as `trio.sleep`, at a fraction of its cost."""
        sleeper = _Sleeper(trio.lowlevel.current_task())
        self._count += 1
        heappush(self._sleepers, (self._now_s + duration_s, self._count, sleeper))
        await trio.lowlevel.wait_task_rescheduled(sleeper.abort)


class _Sleeper:
    """One task that waits for an instant; without a task, it was cancelled."""

    __slots__ = ("task",)

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task: trio.lowlevel.Task | None = task

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


class NodeClock:
    """`Clock` of one node: wrong by a constant, and fast or slow by a rate; monotonic time has the rate only."""

    def __init__(self, *, ahead_us: int = 0, drift_ppm: int = 0) -> None:
        self._now_s = trio.lowlevel.current_clock().current_time
        self._start_s = self._now_s()
        self.ahead_us = ahead_us
        """May be changed at any time: a clock that is set."""
        self._drift_ppm = drift_ppm

    def unix_us(self) -> int:
        """See `Clock`."""
        return EPOCH_START_US + round(self._start_s * 1e6) + self.monotonic_us() + self.ahead_us

    def monotonic_us(self) -> int:
        """See `Clock`."""
        elapsed_us = round((self._now_s() - self._start_s) * 1e6)
        return elapsed_us + elapsed_us * self._drift_ppm // _PPM if self._drift_ppm else elapsed_us


def _nothing() -> None:
    return None
