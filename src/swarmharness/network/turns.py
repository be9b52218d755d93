"""Lets so many tasks in at a time, in the order in which they came; while there is room, it never waits.

Trio's own locks give way to other tasks each time that they are taken, which costs more than most of what they guard.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Turns:
    """Use as an async context manager; a task may be in once."""

    def __init__(self, most: int = 1) -> None:
        self._limiter = trio.CapacityLimiter(most)

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return self._limiter.statistics().tasks_waiting

    async def __aenter__(self) -> None:
        try:
            self._limiter.acquire_nowait()
        except trio.WouldBlock:
            await self._limiter.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limiter.release()
