"""Wakes everybody who waits for something to change; it remembers nothing."""

from __future__ import annotations

import trio


class Bell:
    """Whoever decides to wait takes `next` first, so that no ring between the decision and the wait is missed."""

    def __init__(self) -> None:
        self.next = trio.Event()

    def ring(self) -> None:
        """Wake all who wait now."""
        rung, self.next = self.next, trio.Event()
        rung.set()

    async def wait(self) -> None:
        """Return at the next ring."""
        await self.next.wait()
