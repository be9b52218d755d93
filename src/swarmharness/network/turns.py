"""Lets so many tasks in at a time, in the order in which they came; while there is room, it never waits.

Trio's own locks give way to other tasks each time that they are taken, which costs more than most of what they guard.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Turns:
    """Use as an async context manager; a task that is in and comes again waits for itself."""

    def __init__(self, most: int = 1) -> None:
        self._free = most
        self._queue = trio.lowlevel.ParkingLot()

    @property
    def full(self) -> bool:
        """Whether who comes now has to wait."""
        return not self._free

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._queue)

    async def __aenter__(self) -> None:
        if self._free:
            self._free -= 1
        else:
            await self._queue.park()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._queue:
            self._queue.unpark()  # who leaves gives its place to the next
        else:
            self._free += 1
