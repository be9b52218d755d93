"""Wakes everybody who waits for something to change; it remembers nothing."""

from __future__ import annotations

import trio


class Bell:
    """Whoever decides to wait takes `next` first, so that no ring between the decision and the wait is missed."""

    def __init__(self) -> None:
        self._next: trio.Event | None = None
        """None as long as nobody asked for it: then a ring is for nobody."""

    @property
    def next(self) -> trio.Event:
        """The next ring."""
        if self._next is None:
            self._next = trio.Event()
        return self._next

    def ring(self) -> None:
        """Wake all who wait now."""
        if self._next is not None:
            self._next.set()
            self._next = None

    async def wait(self) -> None:
        """Return at the next ring."""
        await self.next.wait()
