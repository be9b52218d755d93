"""A node that also tells, on SIGUSR1, what its allocator holds; otherwise it is `python -m swarmharness`.

Memory that Python has freed may stay with glibc. Only the process itself can say how much that is, and give it back.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from pathlib import Path

REPORT = "allocator.json"
"""Lies in the data directory once the signal was answered."""
_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def _rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _tell(folder: Path) -> None:
    libc = ctypes.CDLL("libc.so.6")
    libc.mallinfo2.restype = _Mallinfo
    before_mib = _rss_mib()
    gc.collect()
    collected_mib = _rss_mib()
    free_mib = libc.mallinfo2().fordblks / 2**20
    libc.malloc_trim(0)
    report = {"rss": before_mib, "after_gc": collected_mib, "glibc_free": free_mib, "after_trim": _rss_mib()}
    temporary = folder / f"{REPORT}.new"
    temporary.write_text(json.dumps(report))
    temporary.replace(folder / REPORT)


def main() -> None:
    """Run the command as it is, with the signal."""
    from swarmharness.cli import main as run

    folder = Path(sys.argv[sys.argv.index("--data-dir") + 1])
    signal.signal(signal.SIGUSR1, lambda *_: _tell(folder))
    run()


if __name__ == "__main__":
    main()
