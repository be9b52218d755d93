"""Shares the event loop among connections: while it is busy, one reads for a moment at each pass; it reads nothing.

Whoever sends without end would otherwise have as much of the loop as the kernel hands over, many connections together
all of it. Here each takes a turn, which is a moment of processor time, and takes the next when it is used up. While
the readers together need less than half of the time, nobody waits. When they need more, one turn is granted at a time:
to known peers and to strangers in alternation, and among strangers to one network after the other.

What a connection takes is measured, whatever is on it. What the calls on it cost later is estimated by `work_turns.py`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from time import perf_counter

import trio

_SHARE = 0.5
"""Of the time, that is granted without waiting."""
_BURST_TURNS = 8


class FairTurns:
    """One for each node; `run` has to run while anybody reads."""

    def __init__(self, turn_s: float, clock_s: Callable[[], float] = perf_counter) -> None:
        self.turn_s = turn_s
        """Processor time of one turn."""
        self.clock_s = clock_s
        self._spare_s = self._spare_max_s = _BURST_TURNS * turn_s
        self._seen_s = clock_s()
        self._rings = (_Ring(), _Ring())
        self._waiting = 0
        self._wanted = trio.Event()

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._waiting

    async def take(self, group: str, *, known: bool, turns: int = 1) -> None:
        """Wait for a turn, or several, if there is need to; those of one `group` share its turns."""
        now_s = self.clock_s()
        self._spare_s = min(self._spare_max_s, self._spare_s + _SHARE * (now_s - self._seen_s))
        self._seen_s = now_s
        if not self._waiting and self._spare_s >= turns * self.turn_s:
            self._spare_s -= turns * self.turn_s
            return
        self._waiting += 1
        self._wanted.set()
        try:
            for _ in range(turns):
                await self._rings[known].wait(group)
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Grant one turn after the other, until cancelled."""
        known = False
        while True:
            await self._wanted.wait()
            self._wanted = trio.Event()
            while self._waiting:
                known = not known
                if not self._rings[known].grant():
                    self._rings[not known].grant()
                    known = not known
                if known:
                    await trio.lowlevel.checkpoint()
                else:  # half of the time is nobody's, so that those who do little find the event loop free
                    await trio.sleep(self.turn_s)


class _Ring:
    """Those who wait, by group: each grant goes to the next group, and in it to whoever waits longest."""

    def __init__(self) -> None:
        self._groups: OrderedDict[str, deque[trio.Event]] = OrderedDict()

    async def wait(self, group: str) -> None:
        granted = trio.Event()
        self._groups.setdefault(group, deque()).append(granted)
        try:
            await granted.wait()
        except BaseException:
            self._leave(group, granted)
            raise

    def grant(self) -> bool:
        if not self._groups:
            return False
        group, waiting = self._groups.popitem(last=False)
        waiting.popleft().set()
        if waiting:
            self._groups[group] = waiting
        return True

    def _leave(self, group: str, granted: trio.Event) -> None:
        waiting = self._groups.get(group)
        if waiting is not None and granted in waiting:
            waiting.remove(granted)
            if not waiting:
                del self._groups[group]
