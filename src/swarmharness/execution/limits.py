"""Limits the process that calls it, as the operating system offers; for worker processes, never for the node."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def forbid_core_dumps() -> None:
    """Keep what users sent out of files on this disk, should this process crash."""
    _set(resource.RLIMIT_CORE, 0)


def limit_memory(memory_bytes: int) -> None:
    """Let this process hold at most `memory_bytes` of private memory.

    RLIMIT_DATA counts private writable memory, used or not, and not the mapped libraries that make RLIMIT_AS useless
    with ONNX Runtime. macOS does not enforce it; there the parent's watch on resident memory is what remains.
    """
    _set(resource.RLIMIT_DATA, memory_bytes)


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when the thread that started it ends (Linux); exit if that has happened."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)


def lower_priority(niceness: int) -> None:
    """Let others go first, by so many steps."""
    with contextlib.suppress(OSError):
        os.nice(niceness)


def _set(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(kind, (limit, limit))
