"""Virtual time: a trio clock that jumps as soon as nothing can run, and the clocks of single nodes; it never waits.

`MockClock` with autojump needs two turns of trio's loop for each instant and a cancel scope for each sleep; this clock
needs one turn and keeps its own heap of sleepers, because most events of a simulation are messages on their way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
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
        self.now_us = 0
        """Time since the start."""
        self._calls: list[tuple[float, int, _Call]] = []
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
        calls = self._calls
        while True:
            self.on_jump()
            while calls and calls[0][2].action is None:
                heappop(calls)
            target_s = calls[0][0] if calls and calls[0][0] < deadline else deadline
            if target_s == math.inf:
                return self._stall()
            self._idle_turns = 0
            if target_s > self._now_s:
                self._now_s = target_s
                self.now_us = round(target_s * 1e6)
                self.jumps += 1
            quiet = target_s < deadline
            while calls and calls[0][0] <= target_s:
                action = heappop(calls)[2].action
                if action is not None and action() is not True:
                    quiet = False
            if not quiet:
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
        wake = partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(self.later(duration_s, wake).abort)

    def later(self, delay_s: float, action: Callable[[], object]) -> _Call:
        """Call `action` then, outside of any task; if it returns True, it woke none, and time moves on at once."""
        call = _Call(action)
        self._count += 1
        heappush(self._calls, (self._now_s + delay_s, self._count, call))
        return call


class _Call:
    """What happens at an instant, unless it is cancelled before."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self.action = None
        return trio.lowlevel.Abort.SUCCEEDED


class NodeClock:
    """`Clock` of one node: wrong by a constant, and fast or slow by a rate; monotonic time has the rate only."""

    def __init__(self, *, ahead_us: int = 0, drift_ppm: int = 0) -> None:
        clock = trio.lowlevel.current_clock()
        self._time = clock if isinstance(clock, VirtualClock) else _Microseconds(clock)
        self._start_us = self._time.now_us
        self.ahead_us = ahead_us
        """May be changed at any time: a clock that is set."""
        self._drift_ppm = drift_ppm

    def unix_us(self) -> int:
        """See `Clock`."""
        return EPOCH_START_US + self._start_us + self.monotonic_us() + self.ahead_us

    def monotonic_us(self) -> int:
        """See `Clock`."""
        elapsed_us = self._time.now_us - self._start_us
        return elapsed_us + elapsed_us * self._drift_ppm // _PPM if self._drift_ppm else elapsed_us


class _Microseconds:
    """The time of any other clock of trio."""

    def __init__(self, clock: trio.abc.Clock) -> None:
        self._clock = clock

    @property
    def now_us(self) -> int:
        return round(self._clock.current_time() * 1e6)


def _nothing() -> None:
    return None
