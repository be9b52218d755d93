"""The heap of a simulation: what large pages are asked for, and that asking changes nothing; when it is collected."""

from __future__ import annotations

import gc
import weakref

from swarmharness.simulation.heap import LOOKED_AT_EVERY, Heap, _regions, uncollected, use_large_pages

_MIB = 1 << 20
_MAPS = """\
55d000000000-55d000400000 r-xp 00000000 fe:00 1234 /usr/bin/python3
55d010000000-55d01a000000 rw-p 00000000 00:00 0 [heap]
7f0000100000-7f0004300000 rw-p 00000000 00:00 0
7f1000000000-7f1001000000 rw-p 00000000 00:00 0
7f2000000000-7f2010000000 rw-p 00000000 fe:00 99 /var/lib/a file with spaces.db
7f3000000000-7f3010000000 rw-s 00000000 00:01 7 /dev/zero (deleted)
7f4000000000-7f4010000000 ---p 00000000 00:00 0
7ffc00000000-7ffc10000000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_large_regions_of_the_heap_are_meant_and_of_them_whole_heap() -> None:
    assert [(start, (end - start) // _MIB) for start, end in _regions(_MAPS)] == [
        (0x55D010000000, 160),
        (0x7F0000200000, 64),
    ]


def test_what_a_process_holds_is_the_same_afterwards() -> None:
    held = [bytes([number]) * _MIB for number in range(64)]
    use_large_pages()
    assert all(block == bytes([number]) * _MIB for number, block in enumerate(held))


class _Service:
    def __init__(self) -> None:
        self.itself = self


def test_what_ended_sessions_leave_is_freed_when_as_many_ended_as_there_are_nodes() -> None:
    with uncollected():
        assert not gc.isenabled()
        heap, left = Heap(2), weakref.ref(_Service())
        for ended, step in ((2, LOOKED_AT_EVERY), (1, 2 * LOOKED_AT_EVERY - 1)):
            for _ in range(ended):
                heap.session_ended()
            heap.step(step)
            assert left() is not None
        heap.step(2 * LOOKED_AT_EVERY)
        assert left() is None
    assert gc.isenabled()
