"""How much of the machine this process may use: cores and memory, by affinity and control groups; it changes nothing.

A container sees all cores and all memory of its host, and may use a part of them. What is read can change at any time.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_PROC, _CPUS = Path("/proc/self"), Path("/sys/devices/system/cpu")

Read = Callable[[Path], str]
"""Returns the text of a small file; raises OSError."""


def usable_cores(*, physical: bool = False) -> int:
    """Return how many cores this process may keep busy, at least 1; a part of a core counts as one.

    `physical` counts processors that share a core once: a model's threads gain nothing from the second one.
    """
    cores = _distinct_cores(_affinity()) if physical else len(_affinity())
    quota = cpu_quota(_text(_PROC / "cgroup"), _text(_PROC / "mountinfo"))
    return max(1, min(cores, math.ceil(quota)) if quota is not None else cores)


def usable_memory_bytes() -> int:
    """Return how much memory this process and its children may have together."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit_bytes = memory_limit(_text(_PROC / "cgroup"), _text(_PROC / "mountinfo"))
    return memory_bytes if limit_bytes is None else min(memory_bytes, limit_bytes)


def cpu_quota(groups: str, mounts: str, read: Read = Path.read_text) -> float | None:
    """Return how many cores' time the control groups allow, or None if all.

    `groups` and `mounts` are the texts of /proc/self/cgroup and /proc/self/mountinfo, see cgroups(7) and proc(5).
    """
    quotas: list[float] = []
    for unified, folder in _folders(groups, mounts, "cpu"):
        try:
            if unified:
                quota, period = read(folder / "cpu.max").split()
            else:
                quota, period = (read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            if quota != "max" and int(quota) > 0 and int(period) > 0:
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError):
            continue  # the root has no such file, and others may not be ours to read
    return min(quotas, default=None)


def memory_limit(groups: str, mounts: str, read: Read = Path.read_text) -> int | None:
    """Return the bytes of memory that the control groups allow, or None if all; as `cpu_quota`."""
    limits: list[int] = []
    for unified, folder in _folders(groups, mounts, "memory"):
        try:
            text = read(folder / ("memory.max" if unified else "memory.limit_in_bytes")).strip()
            if text != "max" and int(text) > 0:
                limits.append(int(text))
        except (OSError, ValueError):
            continue
    return min(limits, default=None)


def _folders(groups: str, mounts: str, controller: str) -> Iterator[tuple[bool, Path]]:
    """Yield the folders of this process's group and of those above it; True for the unified hierarchy (version 2)."""
    for line in groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        unified = not controllers
        if not unified and controller not in controllers.split(","):
            continue
        for mounted, point in _hierarchies(mounts, "" if unified else controller):
            # A container may see its own group as the root of the mount, under its name outside.
            inside = Path(group).relative_to(mounted) if Path(group).is_relative_to(mounted) else Path()
            yield from ((unified, point / part) for part in (inside, *inside.parents))


def _hierarchies(mounts: str, controller: str) -> Iterator[tuple[Path, Path]]:
    """Yield which group is mounted, and where: of version 2 without a controller, of version 1 with one."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(), after.split()
        if len(fields) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == ("cgroup" if controller else "cgroup2") and (
            not controller or controller in kinds[2].split(",")
        ):
            yield Path(_unescaped(fields[3])), Path(_unescaped(fields[4]))


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _affinity() -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(os.getpid()))  # of the first thread, from which children inherit
    except (AttributeError, OSError):  # not on macOS
        return frozenset(range(os.cpu_count() or 1))


def _distinct_cores(processors: frozenset[int]) -> int:
    """Count processors, those of one core once; one whose core is not known counts."""
    siblings = (_text(_CPUS / f"cpu{number}/topology/thread_siblings_list").strip() for number in processors)
    return len({names or f"only {number}" for names, number in zip(siblings, processors, strict=True)})


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
