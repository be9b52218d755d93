"""A nursery for objects that are async context managers and run tasks of their own; it starts nothing itself."""

from __future__ import annotations

from typing import Any

import trio


class Background:
    """Opened on entering and closed on leaving, in the same task.

    Unlike a plain `async with trio.open_nursery()`, it lets an exception of the body leave as it is, not in a group.
    """

    def __init__(self) -> None:
        self._manager: Any = None
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """The open nursery."""
        if self._nursery is None:
            raise RuntimeError("not entered yet: use it as an async context manager")
        return self._nursery

    async def open(self) -> trio.Nursery:
        """To be called on entering."""
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self.nursery

    async def close(self, error: BaseException | None) -> None:
        """To be called on leaving with the body's exception: stops all tasks, and raises only what they raised."""
        self.nursery.cancel_scope.cancel()
        if error is not None and _is_cancellation(error):  # the nursery's own, or one from further out
            await self._manager.__aexit__(type(error), error, error.__traceback__)
        else:
            await self._manager.__aexit__(None, None, None)


def _is_cancellation(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)
