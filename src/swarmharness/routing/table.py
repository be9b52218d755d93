"""The candidates of one skill, compiled: one line each, kept until its peer changes; pure, no clock.

Choosing is then one pass over two lists of integers. `utility.rank` on the same views gives the same order; a property
test holds the two together.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

from swarmharness.identity import PeerId
from swarmharness.registry.advert import Advert, SkillAdvert
from swarmharness.routing.candidate import CANDIDATES_MAX, CandidateView
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import ITEMS_MAX, items_max, line, standing_exclusion

_INDEX_BITS = CANDIDATES_MAX.bit_length()
_INDEX_MASK = (1 << _INDEX_BITS) - 1
_EXCLUDED = 1 << 400
"""A base cost above any real one, so that one comparison excludes."""
_SORT_ALL_BELOW = 512


@dataclass(frozen=True, slots=True)
class Choice:
    """A peer that may get a task, with what its advert says about the skill."""

    peer_id: PeerId
    skill: SkillAdvert
    service_us: int
    """Time of one item, measured here or claimed by the peer; 0 if nobody knows."""
    local: bool


class SkillTable:
    """Rows by peer id. `set_row` compiles one of them; `order` decides."""

    def __init__(self, choices: Iterable[Choice]) -> None:
        self._choices = sorted(choices, key=attrgetter("peer_id"))
        if len(self._choices) > CANDIDATES_MAX:
            raise ValueError(f"{len(self._choices)} candidates, allowed are {CANDIDATES_MAX}")
        self._index: dict[str, int] = {choice.peer_id: index for index, choice in enumerate(self._choices)}
        self._bases = [_EXCLUDED] * len(self._choices)
        self._slopes = [0] * len(self._choices)
        self._per_byte = [0] * len(self._choices)
        self._limits: dict[int, int] = {}  # rows whose tasks are limited in items
        self._models = Counter(choice.skill.model_digest for choice in self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __contains__(self, peer_id: str) -> bool:
        return peer_id in self._index

    def count(self, model_digest: bytes) -> int:
        """Return how many rows are of this model; with an empty digest, how many there are."""
        return self._models[model_digest] if model_digest else len(self._choices)

    def usable(self, model_digest: bytes = b"") -> list[Choice]:
        """Return what the rows of the peers that may get tasks hand out, by peer id; of this model, if one is given."""
        rows = zip(self._choices, self._bases, strict=True)
        usable = [choice for choice, base in rows if base < _EXCLUDED]
        if self.count(model_digest) < len(self._choices):
            usable = [choice for choice in usable if choice.skill.model_digest == model_digest]
        return usable

    def find(self, peer_id: str) -> Choice | None:
        """Return what a peer's row hands out; None if it has no row."""
        index = self._index.get(peer_id)
        return None if index is None else self._choices[index]

    def choice(self, peer_id: str) -> Choice:
        """Return what a row hands out."""
        return self._choices[self._index[peer_id]]

    def set_row(self, choice: Choice, view: CandidateView, policy: RoutingPolicy) -> None:
        """Compile what is now known of a peer that has a row."""
        index = self._index[choice.peer_id]
        self._choices[index] = choice
        self._limits.pop(index, None)
        if standing_exclusion(view):
            self._bases[index], self._slopes[index], self._per_byte[index] = _EXCLUDED, 0, 0
            return
        compiled = line(view, policy)
        # The index in the low bits makes every key unique, breaks ties by peer id, and leads back to the row.
        self._bases[index] = compiled.base << _INDEX_BITS | index
        self._slopes[index] = compiled.per_item << _INDEX_BITS
        self._per_byte[index] = compiled.per_byte << _INDEX_BITS
        if items_max(view) < ITEMS_MAX:
            self._limits[index] = items_max(view)

    def take_over(self, other: SkillTable, *, besides: Container[PeerId]) -> None:
        """Copy the compiled rows of the peers that another table has too, but for some."""
        for index, choice in enumerate(self._choices):
            before = other._index.get(choice.peer_id)
            if before is None or choice.peer_id in besides:
                continue
            base = other._bases[before]
            self._bases[index] = base if base >= _EXCLUDED else base >> _INDEX_BITS << _INDEX_BITS | index
            self._slopes[index], self._per_byte[index] = other._slopes[before], other._per_byte[before]
            if before in other._limits:
                self._limits[index] = other._limits[before]

    def order(
        self,
        items: int,
        *,
        exclude: frozenset[PeerId] = frozenset(),
        model_digest: bytes = b"",
        takes: Sequence[str] = (),
        input_bytes: int = 0,
        limit: int,
    ) -> tuple[Choice, ...]:
        """Return at most `limit` choices, best first; of this model, if a digest is given."""
        mixed = self.count(model_digest) < len(self._choices)
        if input_bytes:
            planes = zip(self._bases, self._slopes, self._per_byte, strict=True)
            keys = [base + slope * items + per_byte * input_bytes for base, slope, per_byte in planes]
        else:
            keys = [base + slope * items for base, slope in zip(self._bases, self._slopes, strict=True)]
        enough = limit + len(exclude)
        if enough >= len(keys) or len(keys) <= _SORT_ALL_BELOW or self._limits or mixed or takes:
            ordered = sorted(keys)
        else:
            ordered = heapq.nsmallest(enough, keys)
        if self._limits:
            ordered = [key for key in ordered if items <= self._limits.get(key & _INDEX_MASK, items)]
        choices = [self._choices[key & _INDEX_MASK] for key in ordered if key < _EXCLUDED]
        if exclude:
            choices = [choice for choice in choices if choice.peer_id not in exclude]
        if mixed:
            choices = [choice for choice in choices if choice.skill.model_digest == model_digest]
        if takes:
            choices = [choice for choice in choices if choice.skill.takes(takes)]
        return tuple(choices[:limit])


@dataclass(slots=True)
class KeptTable:
    """A table, of which adverts it was made, and which rows are not up to date."""

    adverts: tuple[Advert, ...]
    rows: SkillTable
    dirty: set[PeerId]
    aging: set[PeerId]
    """Rows whose cost changes by time alone: a queue that drains, a breaker that will half-open."""
    aged_us: int
    compiled_us: int
    """When all rows were compiled last."""

    def take_over(self, old: KeptTable) -> None:
        """Continue an older table of the same skill: only what is `dirty` here, or was there, is compiled."""
        self.rows.take_over(old.rows, besides=self.dirty)
        self.dirty |= {peer_id for peer_id in old.dirty if peer_id in self.rows}
        self.aging |= {peer_id for peer_id in old.aging if peer_id in self.rows}
        self.aged_us, self.compiled_us = old.aged_us, old.compiled_us
