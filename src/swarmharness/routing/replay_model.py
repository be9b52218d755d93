"""What a trace says about its peers: service times, the way there, slots, failures, other people's load; pure.

Each peer is a queue, first come first served, with as many servers as explain its recorded times best. docs/replay.md
says what this leaves out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from swarmharness.registry.models import ModelKey, model_key
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.trace import Trace, TraceRecord

SLOTS = (1, 2, 4, 8, 16)
BETTER_PERMILLE = 950
"""More servers are believed only if they leave at most so much of the deviation."""
NEAR_SAMPLES = 8
LOAD_KNOWN_US = 10_000_000
"""For so long an account of other people's items counts."""
SERVICE_UNKNOWN_US = 20_000

_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered task of a peer."""

    time_us: int
    item_us: int
    """Service time of one of its items."""
    rest_us: int
    """Time beyond service and own waiting: the way, encoding, others' items, and what nobody measures."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is known of one peer and model."""

    samples: tuple[Sample, ...]
    """By time; made up from its claim and other peers' spread if it never answered."""
    typical_us: int
    """Time of one item, in the middle."""
    rest_us: int
    """`Sample.rest_us` in the middle."""
    failures_micro: int
    """Share of its tasks that failed, in millionths."""
    failure_us: int
    """How long a failure took, in the middle."""
    view: CandidateView
    """As it was first seen."""
    first_us: int
    last_us: int
    """It is a candidate from when the trace first saw it until it last did."""
    observed: bool
    """It answered at least once in the trace."""

    def sample(self, time_us: int, number: int) -> Sample:
        """Return one of the samples that are nearest in time, which `number` selects: slow times last a while."""
        if not self.observed:
            return self.samples[number % len(self.samples)]
        middle = bisect_right(self.samples, time_us, key=lambda sample: sample.time_us)
        first = max(0, min(middle - NEAR_SAMPLES // 2, len(self.samples) - NEAR_SAMPLES))
        near = min(NEAR_SAMPLES, len(self.samples))
        return self.samples[first + number % near]


@dataclass(frozen=True, slots=True)
class PeerModel:
    """One peer."""

    slots: int
    work: dict[ModelKey, Work]
    others: tuple[tuple[int, int], ...]
    """(time, other people's items there), ascending in time."""

    def others_at(self, time_us: int) -> int:
        """Return how many items of other requesters waited there, by the last account before this time."""
        position = bisect_right(self.others, (time_us, 2**62)) - 1
        if position < 0 or time_us - self.others[position][0] > LOAD_KNOWN_US:
            return 0
        return self.others[position][1]


@dataclass(slots=True)
class _Seen:
    """What is gathered of one peer and model on the way through a trace."""

    view: CandidateView
    first_us: int
    last_us: int
    answered: list[TraceRecord] = field(default_factory=list)
    failed: list[TraceRecord] = field(default_factory=list)


def model_of(skill: str, model_digest: str) -> ModelKey:
    """Return what tells models apart in a trace, whose digests are texts: any text will do."""
    return model_key(skill, model_digest.encode())


def fit(trace: Trace) -> dict[str, PeerModel]:
    """Return the model of every peer that the trace names."""
    seen = _gather(trace)
    by_peer: dict[str, list[TraceRecord]] = defaultdict(list)
    for (peer, _), about in seen.items():
        by_peer[peer].extend(about.answered)
    slots: dict[str, int] = {}
    rests: dict[tuple[str, ModelKey], list[int]] = defaultdict(list)
    for peer, records in by_peer.items():
        answered = sorted(records, key=lambda record: record.time_us)
        slots[peer], own_rests = _fit_slots(answered)
        for record, rest_us in zip(answered, own_rests, strict=True):
            rests[peer, model_of(record.skill, record.model_digest)].append(rest_us)
    works: dict[str, dict[ModelKey, Work]] = defaultdict(dict)
    spread = {model: _spread(seen, model) for model in {model for _, model in seen}}
    for (peer, model), about in seen.items():
        works[peer][model] = _work(about, rests[peer, model], spread[model])
    return {
        peer: PeerModel(
            slots[peer] if by_peer[peer] else max(work.view.slots for work in works[peer].values()),
            works[peer],
            _others(by_peer[peer]),
        )
        for peer in sorted(works)
    }


def draw(seed: int, *parts: int | str) -> int:
    """Return a number of 64 bits that depends on the arguments alone: the luck of one event, equal for every policy."""
    state = _mixed(seed)
    for part in parts:
        number = part if isinstance(part, int) else int.from_bytes(part.encode(), "big")
        while True:
            state = _mixed(_mixed(state) ^ (number & _MASK))
            number >>= 64
            if not number:
                break
    return state


def _mixed(state: int) -> int:
    """One step of splitmix64 (Steele, Lea and Flood 2014)."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def _gather(trace: Trace) -> dict[tuple[str, ModelKey], _Seen]:
    seen: dict[tuple[str, ModelKey], _Seen] = {}
    for record in trace.records:
        views = {view.peer_id: view for view in record.views}
        chosen_view = views.get(record.chosen, CandidateView(record.chosen))
        views[record.chosen] = chosen_view._replace(model_digest=record.model_digest)
        for peer, view in views.items():
            key = peer, model_of(record.skill, view.model_digest)
            seen.setdefault(key, _Seen(view, record.time_us, record.time_us)).last_us = record.time_us
        chosen = seen[record.chosen, model_of(record.skill, record.model_digest)]
        if not record.error:
            chosen.answered.append(record)
        elif record.error != "cancelled":
            chosen.failed.append(record)
    return seen


def _fit_slots(answered: Sequence[TraceRecord]) -> tuple[int, list[int]]:
    """Return how many servers explain the times of a peer best, and each task's rest (see `Sample`) under that."""
    best: tuple[int, int, list[int]] | None = None
    for slots in SLOTS:
        rests: list[int] = []
        free_us = [0] * slots
        for record in answered:
            position = min(range(slots), key=free_us.__getitem__)
            start_us = max(record.time_us, free_us[position])
            rests.append(record.elapsed_us - record.service_us - (start_us - record.time_us))
            free_us[position] = start_us + record.service_us
        middle = _median(rests) if rests else 0
        deviation = sum(abs(rest_us - middle) for rest_us in rests)
        if best is None or deviation * 1000 < best[0] * BETTER_PERMILLE:
            best = deviation, slots, rests
    assert best is not None
    return best[1], [max(0, rest_us) for rest_us in best[2]]


def _spread(seen: dict[tuple[str, ModelKey], _Seen], model: ModelKey) -> tuple[int, ...]:
    """Return the observed times of an item as parts per thousand of their peer's typical time, over all peers."""
    ratios: list[int] = []
    for (_, other), about in seen.items():
        if other == model and about.answered:
            times = [_item_us(record) for record in about.answered]
            middle = max(1, _median(times))
            ratios.extend(1000 * time_us // middle for time_us in times)
    return tuple(sorted(ratios)) or (1000,)


def _work(about: _Seen, rests: Sequence[int], spread: tuple[int, ...]) -> Work:
    view, tried = about.view, len(about.answered) + len(about.failed)
    answered = sorted(about.answered, key=lambda record: record.time_us)
    samples = tuple(
        Sample(record.time_us, _item_us(record), rest_us) for record, rest_us in zip(answered, rests, strict=True)
    )
    if not samples:
        claimed_us = (view.measured_us if view.measured_us is not None else view.advertised_us) or SERVICE_UNKNOWN_US
        way_us = view.round_trip_us or 0
        samples = tuple(Sample(about.first_us, max(1, claimed_us * ratio // 1000), way_us) for ratio in spread)
    return Work(
        samples=samples,
        typical_us=_median([sample.item_us for sample in samples]),
        rest_us=_median([sample.rest_us for sample in samples]),
        failures_micro=1_000_000 * len(about.failed) // tried if tried else 0,
        failure_us=_median([record.elapsed_us for record in about.failed]) if about.failed else 0,
        view=view._replace(outstanding_items=0, sent_since_items=0),
        first_us=about.first_us,
        last_us=about.last_us,
        observed=bool(about.answered),
    )


def _others(answered: Iterable[TraceRecord]) -> tuple[tuple[int, int], ...]:
    """Return what each answer's account of the queue leaves after this node's own items there."""
    records = sorted(answered, key=lambda record: record.time_us)
    ends = sorted((record.time_us + record.elapsed_us, record.queued_items) for record in records)
    flights = [(record.time_us, record.time_us + record.elapsed_us, record.items) for record in records]
    accounts, position, under_way = [], 0, []
    for end_us, queued in ends:
        while position < len(flights) and flights[position][0] < end_us:
            under_way.append(flights[position])
            position += 1
        under_way = [flight for flight in under_way if flight[1] > end_us]
        accounts.append((end_us, max(0, queued - sum(items for _, _, items in under_way))))
    return tuple(accounts)


def _item_us(record: TraceRecord) -> int:
    return max(1, record.service_us // record.items)


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
