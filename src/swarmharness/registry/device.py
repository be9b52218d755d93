"""Reads what this machine has, for the advert; it measures nothing and never fails: what cannot be read is 0."""

from __future__ import annotations

import os
from collections.abc import Sequence

from swarmharness.registry.advert import DeviceInfo

_CPU = "CPUExecutionProvider"


def read_device(providers: Sequence[str]) -> DeviceInfo:
    """Return cores that this process may use, memory, and the execution providers that the executor found."""
    accelerators = tuple(name.removesuffix("ExecutionProvider") for name in providers if name != _CPU)
    return DeviceInfo(_cores(), _memory_mib(), accelerators[:16], tuple(providers)[:16])


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 0


def _memory_mib() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError, AttributeError):
        return 0
