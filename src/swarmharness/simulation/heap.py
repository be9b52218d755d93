"""Keeps the memory of a large simulation fast and free of what is unreachable; it changes no result.

Python's own collector is off meanwhile: it would look at the whole swarm again and again, and find hardly anything.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOOKED_AT_EVERY = 100_000
"""Steps."""
COLLECTED_EVERY = 5_000_000
"""Steps after which exceptions, which refer to themselves, are freed at the latest; what ended sessions leave is freed
when as many have ended as there are nodes."""

_MAPS = Path("/proc/self/maps")
_PAGE_BYTES = 2 << 20
_WORTHWHILE_BYTES = 32 << 20
"""Smaller regions are not worth the calls."""
_HUGEPAGE, _COLLAPSE = 14, 25
"""MADV_HUGEPAGE, for what is touched from now on, and MADV_COLLAPSE (Linux 6.1), for what is there: see madvise(2)."""


class Heap:
    """Tell it of every session that ended, and of every step."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._looked_at_step = self._collected_step = 0
        self._ended_sessions = 0

    def session_ended(self) -> None:
        """Hear that a node stopped, and its services are unreachable."""
        self._ended_sessions += 1

    def step(self, number: int) -> None:
        """Tidy up now and then."""
        if number < self._looked_at_step + LOOKED_AT_EVERY:
            return
        self._looked_at_step = number
        if self._ended_sessions > self._nodes or number >= self._collected_step + COLLECTED_EVERY:
            self._ended_sessions, self._collected_step = 0, number
            gc.collect()
        use_large_pages()


@contextmanager
def uncollected() -> Iterator[None]:
    """Switch Python's collector off within the block."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def use_large_pages() -> None:
    """Ask Linux to keep all of the heap that is there now in pages of 2 MiB; where it is refused, nothing happens.

    A swarm is touched all over, a little of each node in turn, and the processor's table of translations holds only so
    many pages: with large ones 1,000 nodes take about a tenth less time.
    """
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for start, end in _regions(_MAPS.read_text()):
        for advice in (_HUGEPAGE, _COLLAPSE):
            madvise(start, end - start, advice)


def _regions(maps: str) -> Iterator[tuple[int, int]]:
    """Yield start and end, in whole large pages, of what proc(5) calls writable and private and mapped from no file."""
    for line in maps.splitlines():
        bounds, permissions, _offset, _device, _inode, *name = line.split()
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        start, end = -(-start // _PAGE_BYTES) * _PAGE_BYTES, end // _PAGE_BYTES * _PAGE_BYTES
        if permissions == "rw-p" and name in ([], ["[heap]"]) and end - start >= _WORTHWHILE_BYTES:
            yield start, end
