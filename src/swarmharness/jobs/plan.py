"""Decides which items of a job go to which peer next, and what a failure means; it has no clock and does no I/O.

`JobPlan` is told what happened (`feed`, `answered`, `failed`) and asked what to do (`take`); time is an argument.
Chunks follow each peer's measured speed (guided self-scheduling): a chunk is what the peer does in the target time, at
most half of its share of what is left, so that the last chunks are small, and never so much that the peer would
finish after all others could have done everything: a slow peer gets less towards the end, and then nothing. Items are
taken block by block in input order, and within a block the long ones go first and like lengths together, because a
batch is padded to its longest item. A block is what all peers do in two seconds, so that first results come soon. When
nothing is left to hand out, a peer that has done its part repeats what would otherwise finish last; the first answer
wins (J-1). Single requests are not repeated here while they are not very late: that is hedging's part (`hedging.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NewType

ChunkId = NewType("ChunkId", int)

_RATE_MIN = 1e-6
"""Items per second below which a rate says nothing."""
_NEXT_ITEMS = 64
"""Of a block that is not cut yet, so many are looked at for what comes next."""


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """The constants of a plan."""

    chunk_target_us: int = 400_000
    """How long one chunk should keep its peer busy."""
    chunk_floor_us: int = 60_000
    """Chunks do not shrink below this much work, or batches become inefficient."""
    first_chunk_items: int = 16
    """Chunk size for a peer whose speed nobody has measured."""
    chunk_items_max: int = 512
    chunk_bytes_max: int = 32 * 2**20
    block_us: int = 2_000_000
    """Items are sorted by length within what all peers do in this time, so that no early one waits for all others,"""
    block_items_min: int = 64
    """but within so many at least, and as long as no speed is known,"""
    block_items_max: int = 4096
    """and within so many at most."""
    very_late_us: int = 2_000_000
    """Who answered nothing of the job repeats a chunk only if it is late by this and three times its expected time."""
    attempts_max: int = 4
    """Tries of one item that broke its worker, before the error becomes its answer."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Items on their way to one peer. `indices` are positions in the job's input."""

    chunk_id: ChunkId
    peer: str
    indices: tuple[int, ...]
    started_us: int
    expected_us: int


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """An item that ran out of attempts."""

    index: int
    reason: str


@dataclass(slots=True, eq=False)
class _Unit:
    """Items that travel together, answered all or none; two flying chunks may carry the same unit."""

    indices: tuple[int, ...]
    failed_on: frozenset[str] = frozenset()
    attempts: int = 0
    done: bool = False
    """It was answered, or given up: a copy that is still in flight settles nothing any more."""


@dataclass(slots=True)
class JobPlan:
    """The state of one job."""

    settings: PlanSettings = field(default_factory=PlanSettings)
    _waiting: deque[tuple[int, int]] = field(default_factory=deque)  # (length in bytes, index), in input order
    _block: list[tuple[int, int]] = field(default_factory=list)  # the same, ascending
    _at_work: set[str] = field(default_factory=set)  # peers that answered something of the job
    _retry: deque[_Unit] = field(default_factory=deque)
    _flying: dict[ChunkId, tuple[Chunk, _Unit]] = field(default_factory=dict)
    _unanswered: set[int] = field(default_factory=set)
    _next_id: int = 0

    def feed(self, items: Iterable[tuple[int, int]]) -> None:
        """Add items as (index, length in bytes); every index is new."""
        arrived = [(length, index) for index, length in items]
        self._unanswered.update(index for _, index in arrived)
        self._waiting.extend(arrived)

    @property
    def unanswered(self) -> frozenset[int]:
        """Indices that have neither an answer nor a final failure."""
        return frozenset(self._unanswered)

    @property
    def finished(self) -> bool:
        """Everything fed so far is settled."""
        return not self._unanswered

    @property
    def next_bytes(self) -> int:
        """Length of the item that would be handed out next, or about that; 0 if none waits."""
        if self._block:
            return self._block[-1][0]
        return max((length for length, _ in islice(self._waiting, _NEXT_ITEMS)), default=0)

    @property
    def _fresh(self) -> int:
        """How many items were never handed out."""
        return len(self._waiting) + len(self._block)

    @property
    def ending(self) -> bool:
        """Nothing waits to be handed out, and somebody has done a part: who is late may be helped at any moment."""
        return bool(self._flying and self._at_work) and not self._retry and not self._fresh

    def has_work(self, now_us: int) -> bool:
        """Tell whether `take` may have something for anybody; it is cheap, and False is certain."""
        if self._retry or self._fresh or self._at_work:
            return True
        return any(self._is_very_late(chunk, now_us) for chunk, _ in self._flying.values())

    def __len__(self) -> int:
        return len(self._unanswered)

    def __contains__(self, index: int) -> bool:
        """Whether an item was fed and is neither answered nor failed for good."""
        return index in self._unanswered

    def take(
        self,
        peer: str,
        *,
        now_us: int,
        rates: Mapping[str, float],
        items_max: int | None = None,
        soonest: bool = False,
        begins_us: Callable[[str], int] = lambda _: 0,
    ) -> Chunk | None:
        """Return the next chunk for an idle peer, or None if it has nothing useful to do.

        `rates` holds items per second of every peer in use, this one included; 0 where unmeasured. `items_max` is
        what can be paid there. `soonest` says that one item would be back from there first: rates know nothing of
        queues and ways, so that peer may always take one. `begins_us` tells how long a peer would need before it
        began, what it does for others included.
        """
        if items_max is not None and items_max < 1:
            return None
        rate = rates.get(peer, 0.0)
        unit = (
            self._next_retry(peer, rates, items_max)
            or self._cut(peer, rate, rates, items_max, soonest)
            or self._take_over(peer, rate, now_us, items_max, begins_us)
        )
        return None if unit is None else self._launch(peer, unit, rate, now_us, begins_us)

    def answered(self, chunk_id: ChunkId) -> tuple[int, ...]:
        """Record a chunk's answer; returns the indices that it settles: all of them, or none if a rival was first."""
        chunk, unit = self._flying.pop(chunk_id)
        self._at_work.add(chunk.peer)
        if unit.done:
            return ()
        unit.done = True
        self._unanswered.difference_update(unit.indices)
        return chunk.indices

    def failed(self, chunk_id: ChunkId, reason: str, *, blame_items: bool) -> tuple[ItemFailure, ...]:
        """Record that a chunk brought no answer; returns the items that are out of attempts.

        `blame_items` says that the items may be the cause (a model crashed on them): the unit is then halved, so that
        after a few tries only the culprit fails. The loss of a peer does not count as an attempt.
        """
        chunk, unit = self._flying.pop(chunk_id)
        if unit.done or any(other is unit for _, other in self._flying.values()):
            return ()
        attempts = unit.attempts + blame_items
        unit.done = True  # what is left of it goes on as other units
        if attempts >= self.settings.attempts_max and len(unit.indices) == 1:
            self._unanswered.difference_update(unit.indices)
            return (ItemFailure(unit.indices[0], reason),)
        middle = (len(unit.indices) + 1) // 2 if blame_items else len(unit.indices)
        halves = (unit.indices[:middle], unit.indices[middle:])
        self._retry.extend(_Unit(half, unit.failed_on | {chunk.peer}, attempts) for half in halves if half)
        return ()

    def put_back(self, indices: Iterable[int]) -> tuple[int, ...]:
        """Have settled items done again, because their answers turned out wrong; returns those that were settled.

        They go out with the retries, before anything fresh. What is unanswered already stays as it is.
        """
        again = tuple(dict.fromkeys(index for index in indices if index not in self._unanswered))
        self._unanswered.update(again)
        most = max(1, self.settings.first_chunk_items)
        self._retry.extend(_Unit(again[start : start + most]) for start in range(0, len(again), most))
        return again

    def superfluous(self) -> tuple[ChunkId, ...]:
        """Return the flying chunks whose items are all settled; their work can be cancelled."""
        return tuple(chunk_id for chunk_id, (_, unit) in self._flying.items() if unit.done)

    def _next_retry(self, peer: str, rates: Mapping[str, float], items_max: int | None) -> _Unit | None:
        for position, unit in enumerate(self._retry):
            if peer not in unit.failed_on or all(other in unit.failed_on for other in rates):
                del self._retry[position]
                if items_max is not None and len(unit.indices) > items_max:
                    self._retry.appendleft(_Unit(unit.indices[items_max:], unit.failed_on, unit.attempts))
                    unit = _Unit(unit.indices[:items_max], unit.failed_on, unit.attempts)
                return unit
        return None

    def _cut(
        self, peer: str, rate: float, rates: Mapping[str, float], items_max: int | None, soonest: bool
    ) -> _Unit | None:
        if not self._fresh:
            return None
        wanted = self.settings.first_chunk_items
        if rate >= _RATE_MIN:
            share = self._fresh * rate / sum(rates.values())
            target, floor = (rate * us / 1e6 for us in (self.settings.chunk_target_us, self.settings.chunk_floor_us))
            wanted = max(1, round(min(target, max(floor, share / 2 if len(rates) > 1 else share))))
            if wanted > 1 or not soonest:  # to whom it would come back first, one is given in any case
                wanted = min(wanted, max(self._in_time(peer, rates), int(soonest)))
        most = self.settings.chunk_items_max if items_max is None else min(items_max, self.settings.chunk_items_max)
        return _Unit(self._pop_longest(min(wanted, most), rates)) if wanted >= 1 else None

    def _in_time(self, peer: str, rates: Mapping[str, float]) -> int:
        """Return how many more items this peer finishes before the others could have finished everything.

        Whoever would finish one more item first always may take one, so that there is always somebody.
        """
        ahead = {other: 0 for other, rate in rates.items() if rate >= _RATE_MIN}
        held = 0
        for chunk, unit in self._flying.values():
            if not unit.done and chunk.peer in ahead:
                ahead[chunk.peer] += len(chunk.indices)
                held += len(chunk.indices)
        all_done_s = (self._fresh + held) / sum(rates[other] for other in ahead)
        soonest_s = min((ahead[other] + 1) / rates[other] for other in ahead)
        # A hair more, because quotients of floats must not keep the soonest from taking its one.
        return int(max(all_done_s, soonest_s) * rates[peer] * (1 + 1e-9)) - ahead[peer]

    def _pop_longest(self, wanted: int, rates: Mapping[str, float]) -> tuple[int, ...]:
        taken: list[int] = []
        size_bytes = 0
        while len(taken) < wanted and (self._block or self._waiting):
            if not self._block:
                self._block = self._next_block(rates)
            size_bytes += self._block[-1][0]
            if taken and size_bytes > self.settings.chunk_bytes_max:
                break
            taken.append(self._block.pop()[1])
        return tuple(taken)

    def _next_block(self, rates: Mapping[str, float]) -> list[tuple[int, int]]:
        settings = self.settings
        wanted = max(settings.block_items_min, round(sum(rates.values()) * settings.block_us / 1e6))
        count = min(wanted, settings.block_items_max, len(self._waiting))
        return sorted(self._waiting.popleft() for _ in range(count))

    def _take_over(
        self, peer: str, rate: float, now_us: int, items_max: int | None, begins_us: Callable[[str], int]
    ) -> _Unit | None:
        """Pick the unit that this idle peer would finish sooner, by most, than its only holder is expected to."""
        holders: dict[int, int] = {}
        for _, unit in self._flying.values():
            holders[id(unit)] = holders.get(id(unit), 0) + 1
        before_us: int | None = None
        best_gain_us, best = 0, None
        for chunk, unit in self._flying.values():
            if unit.done or chunk.peer == peer or holders[id(unit)] > 1:
                continue
            if items_max is not None and len(unit.indices) > items_max:
                continue
            if peer not in self._at_work and not self._is_very_late(chunk, now_us):
                continue
            late_us = _late_us(chunk, now_us)
            before_us = begins_us(peer) if before_us is None else before_us
            mine_us = before_us + self._duration_us(len(unit.indices), rate)
            # Nobody knows how long a late chunk will still take: suppose, as long as it is late already.
            gain_us = abs(late_us) - mine_us
            if late_us <= 0 and gain_us < max(mine_us, self.settings.chunk_floor_us):
                continue  # it is not late, and what is predicted is not so certain
            if gain_us > best_gain_us:
                best_gain_us, best = gain_us, unit
        return best

    def _is_very_late(self, chunk: Chunk, now_us: int) -> bool:
        return _late_us(chunk, now_us) > 3 * chunk.expected_us + self.settings.very_late_us

    def _launch(self, peer: str, unit: _Unit, rate: float, now_us: int, begins_us: Callable[[str], int]) -> Chunk:
        self._next_id += 1
        ahead = sum(len(chunk.indices) for chunk, _ in self._flying.values() if chunk.peer == peer)
        before_us = begins_us(peer)
        if ahead:  # of which the router may not know yet
            before_us = max(before_us, self._duration_us(ahead, rate))
        expected_us = before_us + self._duration_us(len(unit.indices), rate)
        chunk = Chunk(ChunkId(self._next_id), peer, unit.indices, now_us, expected_us)
        self._flying[chunk.chunk_id] = (chunk, unit)
        return chunk

    def _duration_us(self, items: int, rate: float) -> int:
        return round(items / rate * 1e6) if rate >= _RATE_MIN else self.settings.chunk_target_us


def _late_us(chunk: Chunk, now_us: int) -> int:
    return now_us - chunk.started_us - chunk.expected_us
