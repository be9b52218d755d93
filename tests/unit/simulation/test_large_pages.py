"""Large pages: which regions of a process they are asked for; that asking changes nothing that the process holds."""

from __future__ import annotations

from swarmharness.simulation.large_pages import _heap_regions, use_large_pages

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


def test_only_large_regions_of_the_heap_are_meant_and_of_them_whole_large_pages() -> None:
    assert [(start, (end - start) // _MIB) for start, end in _heap_regions(_MAPS)] == [
        (0x55D010000000, 160),
        (0x7F0000200000, 64),
    ]


def test_what_a_process_holds_is_the_same_afterwards() -> None:
    held = [bytes([number]) * _MIB for number in range(64)]
    use_large_pages()
    assert all(block == bytes([number]) * _MIB for number, block in enumerate(held))
