"""Gives memory back to the system that a burst of work has left free; it frees nothing that is in use.

glibc keeps freed memory between pieces that are in use: after a crowd of peers half of what it had taken (measured:
50 MiB of 100). Elsewhere than on glibc nothing is done.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import psutil
import trio

_LOOK_S = 20.0
_GROWN = 1.05
"""Times the least that this process had; below that, there is nothing worth the milliseconds."""


async def give_back_memory() -> None:
    """Look now and then whether the process has grown, until cancelled."""
    give_back = trim()
    if give_back is None:
        return
    process = psutil.Process()
    least_bytes = process.memory_info().rss
    while True:
        await trio.sleep(_LOOK_S)
        bytes_now = process.memory_info().rss
        if bytes_now > _GROWN * least_bytes:
            await trio.to_thread.run_sync(give_back, abandon_on_cancel=True)
            bytes_now = process.memory_info().rss
        least_bytes = min(least_bytes, bytes_now)


def trim() -> Callable[[], object] | None:
    """Return what gives freed memory back, or None where the C library has nothing of the kind."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None
    return lambda: malloc_trim(0)
