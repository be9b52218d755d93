"""Replays the tasks of a trace under another policy, on a model of its peers, and measures what would have come of it.

Pure and deterministic: the tasks arrive when they did, the peers are queues fitted to the trace (`replay_model`), each
policy sees what a router would see, and luck depends on the seed, the task and the peer, not on the policy.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from swarmharness.identity import PeerId
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey
from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.records import Records, view_of
from swarmharness.routing.replay_model import PeerModel, draw, model_of
from swarmharness.routing.trace import Trace, TraceRecord
from swarmharness.routing.utility import rank

MICRO = 1_000_000
QUANTILES = (50, 90, 99)
JITTER_PERMILLE = 200
"""As a router's back-off has it."""


@dataclass(frozen=True, slots=True)
class ReplaySettings:
    """What does not depend on a policy."""

    seed: int = 1
    within_us: int = 2_000_000
    """A task that is answered later than this is no good."""
    tries: int = 2
    """Peers that a task is sent to, one after the other's failure, before it counts as failed."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the tasks of a trace fared, really or in the model."""

    name: str
    tasks: int
    latencies_us: tuple[int, ...]
    """Of the answered ones, ascending."""
    items_by_peer: dict[str, int]
    same_choice: int
    """Tasks that went to the peer that they really went to."""
    within_us: int

    def quantile_us(self, percent: int) -> int:
        """Return the time in which so many percent of the answered tasks were answered (nearest rank); 0 if none."""
        if not self.latencies_us:
            return 0
        return self.latencies_us[max(0, -(-len(self.latencies_us) * percent // 100) - 1)]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; shares are of items, `goodput` of tasks."""
        items = sum(self.items_by_peer.values())
        good = sum(1 for latency_us in self.latencies_us if latency_us <= self.within_us)
        ranked = sorted(self.items_by_peer.items(), key=lambda entry: (-entry[1], entry[0]))
        return {
            "policy": self.name,
            "tasks": self.tasks,
            "answered": len(self.latencies_us),
            **{f"p{percent}_ms": self.quantile_us(percent) / 1000 for percent in QUANTILES},
            "mean_ms": round(sum(self.latencies_us) / max(1, len(self.latencies_us)) / 1000, 3),
            "goodput": round(good / self.tasks, 6) if self.tasks else 0.0,
            "same_choice": round(self.same_choice / self.tasks, 6) if self.tasks else 0.0,
            "shares": {peer: round(count / items, 6) for peer, count in ranked},
        }


def recorded(trace: Trace, settings: ReplaySettings) -> Outcome:
    """Return how the answered tasks of the trace really fared."""
    tasks = answered_tasks(trace)
    shares: Counter[str] = Counter()
    for task in tasks:
        shares[task.chosen] += task.items
    latencies = tuple(sorted(task.elapsed_us for task in tasks))
    return Outcome("recorded", len(tasks), latencies, dict(shares), len(tasks), settings.within_us)


def answered_tasks(trace: Trace) -> tuple[TraceRecord, ...]:
    """Return the tasks that are replayed: a failed one was sent again, and is there a second time."""
    return tuple(record for record in trace.records if not record.error)


def replay(
    trace: Trace, models: dict[str, PeerModel], policy: RoutingPolicy | None, settings: ReplaySettings, *, name: str
) -> Outcome:
    """Return how the tasks would have fared under a policy; None sends each where it really went, to test the model."""
    return _Run(answered_tasks(trace), models, policy, settings).outcome(name)


@dataclass(slots=True)
class _Flight:
    """One task on its way through the model."""

    number: int
    record: TraceRecord
    model: ModelKey
    tries: int = 0
    exclude: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Sent:
    """A try at one peer, which ends at a known time."""

    flight: _Flight
    peer: str
    view: CandidateView
    sent_us: int
    service_us: int
    """0 for one that fails."""


@dataclass(slots=True)
class _Run:
    """The state of one replay."""

    tasks: Sequence[TraceRecord]
    models: dict[str, PeerModel]
    policy: RoutingPolicy | None
    settings: ReplaySettings
    records: Records = field(default_factory=Records)
    free_us: dict[str, list[int]] = field(default_factory=dict)
    under_way: Counter[tuple[str, ModelKey]] = field(default_factory=Counter)
    latencies_us: list[int] = field(default_factory=list)
    items_by_peer: Counter[str] = field(default_factory=Counter)
    same_choice: int = 0
    _events: list[tuple[int, int, _Flight | _Sent]] = field(default_factory=list)
    _order: int = 0
    _met: set[tuple[str, ModelKey]] = field(default_factory=set)

    def outcome(self, name: str) -> Outcome:
        """Run it."""
        self.free_us = {peer: [0] * model.slots for peer, model in self.models.items()}
        for number, record in enumerate(self.tasks):
            self._at(record.time_us, _Flight(number, record, model_of(record.skill, record.model_digest)))
        while self._events:
            now_us, _, event = heapq.heappop(self._events)
            if isinstance(event, _Flight):
                self._choose(event, now_us)
            else:
                self._end(event, now_us)
        latencies = tuple(sorted(self.latencies_us))
        return Outcome(
            name, len(self.tasks), latencies, dict(self.items_by_peer), self.same_choice, self.settings.within_us
        )

    def _at(self, time_us: int, event: _Flight | _Sent) -> None:
        self._order += 1
        heapq.heappush(self._events, (time_us, self._order, event))

    def _choose(self, flight: _Flight, now_us: int) -> None:
        record, policy = flight.record, self.policy
        if policy is None:
            peer = record.chosen
            view = self.models[peer].work[flight.model].view
        else:
            views = {view.peer_id: view for view in self._views(flight.model, policy, now_us)}
            request = RouteRequest(record.skill, record.items, exclude=flight.exclude, input_bytes=record.input_bytes)
            order = rank(views.values(), policy, request).order
            if not order:
                return
            peer, view = order[0], views[order[0]]
            self.records.sent(peer, flight.model, policy, items=record.items, now_us=now_us)
        if not flight.tries:
            self.same_choice += peer == record.chosen
        flight.tries += 1
        self._send(flight, peer, view, now_us)

    def _send(self, flight: _Flight, peer: str, view: CandidateView, now_us: int) -> None:
        record = flight.record
        work = self.models[peer].work[flight.model]
        self.under_way[peer, flight.model] += record.items
        luck = draw(self.settings.seed, flight.number, peer)
        if self.policy is not None and luck % MICRO < work.failures_micro:
            self._at(now_us + work.failure_us, _Sent(flight, peer, view, now_us, 0))
            return
        sample = work.sample(now_us, luck // MICRO)
        service_us = max(1, sample.item_us * record.items)
        free_us = self.free_us[peer]
        slot = min(range(len(free_us)), key=free_us.__getitem__)
        free_us[slot] = max(now_us, free_us[slot]) + service_us
        self._at(free_us[slot] + sample.rest_us, _Sent(flight, peer, view, now_us, service_us))

    def _end(self, sent: _Sent, now_us: int) -> None:
        record, model, peer, policy = sent.flight.record, sent.flight.model, sent.peer, self.policy
        self.under_way[peer, model] -= record.items
        if not sent.service_us:
            assert policy is not None
            jitter = draw(self.settings.seed, sent.flight.number, peer, 1) % JITTER_PERMILLE
            self.records.failed(peer, model, policy, items=record.items, now_us=now_us, jitter_permille=jitter)
            if sent.flight.tries < self.settings.tries:
                sent.flight.exclude |= {peer}
                self._at(now_us, sent.flight)
            return
        self.latencies_us.append(now_us - record.time_us)
        self.items_by_peer[peer] += record.items
        if policy is not None:
            self.records.answered(
                peer,
                model,
                policy,
                items=record.items,
                service_us=sent.service_us,
                queued_items=self.under_way[peer, model] + self.models[peer].others_at(now_us),
                elapsed_us=now_us - sent.sent_us,
                now_us=now_us,
                network_us=sent.view.network_us(policy),
                predicted_wait_us=sent.view.promised_wait_us(policy),
            )

    def _views(self, model: ModelKey, policy: RoutingPolicy, now_us: int) -> list[CandidateView]:
        """Return the candidates as a router would see them now: what it measured itself, and the rest as recorded."""
        views = []
        for peer, of_peer in self.models.items():
            work = of_peer.work.get(model)
            if work is None or not work.first_us <= now_us <= work.last_us:
                continue
            if (peer, model) not in self._met:
                self._met.add((peer, model))
                self._meet(peer, model, policy, work.view, work.first_us)
            views.append(self._view(peer, model, policy, work.view, now_us))
        return views

    def _meet(self, peer: str, model: ModelKey, policy: RoutingPolicy, first: CandidateView, now_us: int) -> None:
        """Take in the load that was known of a peer when the trace first saw it."""
        at_us = now_us - min(now_us, first.queue_age_us or 0)
        report = LoadReport(first.queued_items, slots=first.slots, source="gossip")
        self.records.heard(peer, model, policy, report, now_us=at_us)

    def _view(
        self, peer: str, model: ModelKey, policy: RoutingPolicy, first: CandidateView, now_us: int
    ) -> CandidateView:
        seen = view_of(
            PeerId(peer),
            _offer(model.skill, first),
            self.records.get(peer, model, policy),
            policy,
            local=first.local,
            allowed=first.allowed,
            round_trip_us=first.round_trip_us,
            now_us=now_us,
        )
        return seen._replace(
            model_digest=first.model_digest,
            loaded=first.loaded or seen.measured_us is not None,
            load_us=first.load_us,
            missing_bytes=0 if seen.measured_us is not None else first.missing_bytes,
            bandwidth_bytes_s=first.bandwidth_bytes_s,
            measured_us=first.measured_us if seen.measured_us is None else seen.measured_us,
            trust_valid_micro=first.trust_valid_micro,
            trust_invalid_micro=first.trust_invalid_micro,
        )


def _offer(skill: str, view: CandidateView) -> SkillAdvert:
    """Return what a peer's advert must have said for it to be seen so."""
    return SkillAdvert(
        name=skill,
        version="",
        kind="",
        model_digest=b"",
        comparison_class="",
        batch_invariant=view.batch_invariant,
        batch_items_max=view.batch_items_max,
        service_us=view.advertised_us,
        price_microcredits=view.price_microcredits,
        provider=view.provider,
        queued_items=view.queued_items,
        slots=view.slots,
    )
