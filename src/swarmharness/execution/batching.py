"""Decides what goes into a batch, who may wait, and when a worker counts as hung; pure functions, no clock.

The policy: a batch is taken as soon as the worker is free, from whatever waits then. Nobody waits for company, so a
single caller pays nothing, and callers that come while the worker is busy are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

PADDING_WORTH = 1.15
"""Padded work over real work beyond which two shorter runs are cheaper than a longer one."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One caller in the queue: the bytes of each item that is not yet run, and whether it must be run by itself."""

    sizes_bytes: tuple[int, ...]
    alone: bool = False


def fill(waiting: Iterable[Waiting], *, batch_items: int, batch_bytes: int, merge: bool) -> tuple[int, ...]:
    """Return how many items to take from each caller at the head of the queue: at least one, within both limits.

    The last caller may be taken in part. A caller that must be alone, or any when merging is off, is taken by itself.
    """
    taken: list[int] = []
    items, size_bytes = 0, 0
    for caller in waiting:
        if taken and (not merge or caller.alone):
            break
        count = 0
        for item_bytes in caller.sizes_bytes:
            if items and (items == batch_items or size_bytes + item_bytes > batch_bytes):
                break
            count, items, size_bytes = count + 1, items + 1, size_bytes + item_bytes
        if count:
            taken.append(count)
        if count < len(caller.sizes_bytes) or not merge or caller.alone:
            break
    return tuple(taken)


def admits(queued: int, new: int, *, most: int) -> bool:
    """Tell whether a call may join the queue, by items or by bytes; one that is larger than it may when it is empty."""
    return queued == 0 or queued + new <= most


def abandoned_limit_us(items: int, service_us: int) -> int:
    """Return how long a batch may run once nobody waits for it: ten times what it should take, and a second.

    A caller that gave up does not mean that the model hangs, and a new worker costs more than most batches.
    """
    return 1_000_000 + 10 * items * service_us


def occupation_us(service_us: int, *, cpu_share: float) -> int:
    """Return how long a batch occupies the worker, the rest after it included: all that a requester can count on."""
    return round(service_us / cpu_share)


def share_us(batch_us: int, batch_items: int, caller_items: int) -> int:
    """Return a caller's share of a merged batch's time, by item count."""
    return batch_us * caller_items // batch_items


def restart_delay_us(failures: int) -> int:
    """Return how long to wait before the next worker after failures in a row: nothing, then 0.1 s doubling to 10 s."""
    return 0 if failures <= 1 else min(100_000 * 2 ** min(failures - 2, 10), 10_000_000)


def trial_delay_s(lost: int) -> float:
    """Return how long to leave alone a model whose trial was lost so often before: a minute, doubling to an hour."""
    return float(min(60 * 2 ** min(lost, 10), 3600))


def group_by_length(lengths: Sequence[int], *, most_cells: int) -> list[list[int]]:
    """Return the indices in groups of like length, shortest first, each of at most `most_cells` when padded.

    A group grows while padding its members to the longest costs less than `PADDING_WORTH` of their real work.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups: list[list[int]] = []
    cells = 0
    for index in order:
        length = lengths[index]
        group = groups[-1] if groups else []
        padded = (len(group) + 1) * length
        if group and padded <= most_cells and padded <= PADDING_WORTH * (cells + length):
            group.append(index)
            cells += length
        else:
            groups.append([index])
            cells = length
    return groups
