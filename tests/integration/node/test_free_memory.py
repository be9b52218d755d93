"""A node's process is as large after a burst of work as before."""

from __future__ import annotations

import psutil
import pytest

from swarmharness.node.free_memory import trim

TRIM = trim()


@pytest.mark.skipif(TRIM is None, reason="no glibc")
def test_what_was_freed_goes_back_to_the_system() -> None:
    assert TRIM is not None
    process = psutil.Process()
    before = process.memory_info().rss
    pieces = [bytes([number % 256]) * 100_000 for number in range(2_000)]
    kept = pieces[::100]
    del pieces
    assert process.memory_info().rss > before + 50_000_000
    TRIM()
    assert process.memory_info().rss < before + 20_000_000
    assert len(kept) == 20
