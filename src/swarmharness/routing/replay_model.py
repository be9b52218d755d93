"""What a trace says about its peers: service times, the way there, slots, failures, other people's load; pure.

Each peer is a queue, first come first served, with as many servers as explain its recorded times best. docs/replay.md
says what this leaves out.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.trace import Trace, TraceRecord

SLOTS = (1, 2, 4, 8, 16)
BETTER_PERMILLE = 950
"""More servers are believed only if they leave at most so much of the deviation."""
LOAD_KNOWN_US = 10_000_000
"""For so long an account of other people's items counts."""
SERVICE_UNKNOWN_US = 20_000

_MASK = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Work:
    """What is known of one peer and skill."""

    per_item_us: tuple[int, ...]
    """Observed times of one item, one for each answered task; scaled from other peers' if it never answered."""
    typical_us: int
    """The one in the middle."""
    way_us: int
    """Time beyond waiting and service: the network, encoding, and what nobody measures."""
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

    def service_us(self, items: int, number: int) -> int:
        """Return the time of so many items; `number` selects one of the observed times."""
        return max(1, self.per_item_us[number % len(self.per_item_us)] * items)


@dataclass(frozen=True, slots=True)
class PeerModel:
    """One peer."""

    slots: int
    work: dict[str, Work]
    """By skill."""
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
    """What is gathered of one peer and skill on the way through a trace."""

    view: CandidateView
    first_us: int
    last_us: int
    answered: list[TraceRecord] = field(default_factory=list)
    failed: list[TraceRecord] = field(default_factory=list)


def fit(trace: Trace) -> dict[str, PeerModel]:
    """Return the model of every peer that the trace names."""
    seen = _gather(trace)
    by_peer: dict[str, list[TraceRecord]] = defaultdict(list)
    for (peer, _), about in seen.items():
        by_peer[peer].extend(about.answered)
    slots, ways = {}, {}
    for peer, records in by_peer.items():
        answered = sorted(records, key=lambda record: record.time_us)
        slots[peer], ways[peer] = _fit_slots(answered)
    works: dict[str, dict[str, Work]] = defaultdict(dict)
    typical = {skill: _typical_ratio(seen, skill) for skill in {skill for _, skill in seen}}
    for (peer, skill), about in seen.items():
        works[peer][skill] = _work(about, ways[peer].get(skill), typical[skill])
    return {
        peer: PeerModel(
            slots[peer] if by_peer[peer] else max(view.view.slots for view in works[peer].values()),
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


def _gather(trace: Trace) -> dict[tuple[str, str], _Seen]:
    seen: dict[tuple[str, str], _Seen] = {}
    for record in trace.records:
        views = {view.peer_id: view for view in record.views}
        views.setdefault(record.chosen, CandidateView(record.chosen))
        for peer, view in views.items():
            about = seen.setdefault((peer, record.skill), _Seen(view, record.time_us, record.time_us))
            about.last_us = record.time_us
        chosen = seen[record.chosen, record.skill]
        if not record.error:
            chosen.answered.append(record)
        elif record.error != "cancelled":
            chosen.failed.append(record)
    return seen


def _fit_slots(answered: Sequence[TraceRecord]) -> tuple[int, dict[str, int]]:
    """Return how many servers explain the times of a peer best, and the way for each skill under that."""
    best: tuple[int, int, dict[str, int]] | None = None
    for slots in SLOTS:
        residuals: dict[str, list[int]] = defaultdict(list)
        free_us = [0] * slots
        for record in answered:
            position = min(range(slots), key=free_us.__getitem__)
            start_us = max(record.time_us, free_us[position])
            residuals[record.skill].append(record.elapsed_us - record.service_us - (start_us - record.time_us))
            free_us[position] = start_us + record.service_us
        ways = {skill: max(0, _median(values)) for skill, values in residuals.items()}
        deviation = sum(abs(value - ways[skill]) for skill, values in residuals.items() for value in values)
        if best is None or deviation * 1000 < best[0] * BETTER_PERMILLE:
            best = deviation, slots, ways
    assert best is not None
    return best[1], best[2]


def _typical_ratio(seen: dict[tuple[str, str], _Seen], skill: str) -> tuple[int, ...]:
    """Return the observed times of an item as parts per thousand of their peer's typical time, over all peers."""
    ratios: list[int] = []
    for (_, name), about in seen.items():
        if name == skill and about.answered:
            times = [_per_item_us(record) for record in about.answered]
            middle = max(1, _median(times))
            ratios.extend(1000 * time_us // middle for time_us in times)
    return tuple(sorted(ratios)) or (1000,)


def _work(about: _Seen, way_us: int | None, ratios: tuple[int, ...]) -> Work:
    times = tuple(_per_item_us(record) for record in about.answered)
    if not times:
        view = about.view
        claimed_us = (view.measured_us if view.measured_us is not None else view.advertised_us) or SERVICE_UNKNOWN_US
        times = tuple(max(1, claimed_us * ratio // 1000) for ratio in ratios)
    tried = len(about.answered) + len(about.failed)
    return Work(
        per_item_us=times,
        typical_us=_median(times),
        way_us=(about.view.round_trip_us or 0) if way_us is None else way_us,
        failures_micro=1_000_000 * len(about.failed) // tried if tried else 0,
        failure_us=_median([record.elapsed_us for record in about.failed]) if about.failed else 0,
        view=replace(about.view, outstanding_items=0, sent_since_items=0),
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


def _per_item_us(record: TraceRecord) -> int:
    return max(1, record.service_us // record.items)


def _median(values: Sequence[int]) -> int:
    return sorted(values)[len(values) // 2]
