"""Asks Linux to keep this process's heap in pages of 2 MiB; it changes no result, and where it is refused, only speed.

A large swarm is touched all over, a little of each node in turn. With pages of 4 KiB the processor finds hardly one of
them in its table of translations; with large ones 1,000 nodes take an eighth less time (docs/simulation.md).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_PAGE_BYTES = 2 << 20
_WORTHWHILE_BYTES = 32 << 20
"""Smaller regions are not worth the call."""
_HUGEPAGE, _COLLAPSE = 14, 25
"""MADV_HUGEPAGE: what is touched from now on; MADV_COLLAPSE (Linux 6.1): what is there already. See madvise(2)."""


def use_large_pages() -> None:
    """Ask for large pages for all of the heap that is there now; to be repeated as it grows."""
    if sys.platform != "linux":
        return
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    for start, end in _heap_regions(_MAPS.read_text()):
        for advice in (_HUGEPAGE, _COLLAPSE):
            madvise(start, end - start, advice)


def _heap_regions(maps: str) -> Iterator[tuple[int, int]]:
    """Yield start and end, whole large pages, of what proc(5) calls writable, private, and mapped from no file."""
    for line in maps.splitlines():
        bounds, permissions, _offset, _device, _inode, *name = line.split()
        start, end = (int(bound, 16) for bound in bounds.split("-"))
        start, end = -(-start // _PAGE_BYTES) * _PAGE_BYTES, end // _PAGE_BYTES * _PAGE_BYTES
        if permissions == "rw-p" and name in ([], ["[heap]"]) and end - start >= _WORTHWHILE_BYTES:
            yield start, end
