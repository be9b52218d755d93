"""What the router remembers of each peer and skill, and how each event changes it; bounded, pure, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from swarmharness.identity import PeerId
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing import breaker, estimates, pheromone, trust
from swarmharness.routing.breaker import CLOSED, Breaker
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.estimates import NOTHING_KNOWN, Estimate, LoadReport
from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.pheromone import NEUTRAL, Pheromone
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.trust import Trust

RECORDS_MAX = 16_384
VERIFIED_QUALITY_MICRO = 2_000_000
"""A verified result lays pheromone as one that came in half the usual time."""
QUEUE_FRESH_US = 10_000_000
"""A queue that a peer reported with an answer is better than the one in its advert for so long."""


class Record(NamedTuple):
    """One peer and skill; a tuple, because every event makes a new one."""

    estimate: Estimate
    breaker: Breaker
    trust: Trust
    pheromone: Pheromone = NEUTRAL
    advert_sequence: int = -1
    """Of the advert whose queue was taken in last."""


@dataclass(slots=True)
class Records:
    """All of them; beyond the limit the least recently changed is forgotten."""

    most: int = RECORDS_MAX
    _records: dict[tuple[str, str], Record] = field(default_factory=dict)

    def get(self, peer_id: str, skill: str, policy: RoutingPolicy) -> Record:
        """Return what is remembered, or what is believed of a stranger."""
        record = self._records.get((peer_id, skill))
        return record or Record(NOTHING_KNOWN, CLOSED, trust.prior(policy))

    def sent(self, peer_id: str, skill: str, policy: RoutingPolicy, *, items: int, now_us: int) -> None:
        """A task was sent."""
        old = self.get(peer_id, skill, policy)
        estimate = estimates.after_send(old.estimate, items)
        self._put(peer_id, skill, old._replace(estimate=estimate, breaker=breaker.after_send(old.breaker, now_us)))

    def answered(
        self,
        peer_id: str,
        skill: str,
        policy: RoutingPolicy,
        *,
        items: int,
        service_us: int,
        queued_items: int,
        elapsed_us: int,
        now_us: int,
        network_us: int = 0,
        predicted_wait_us: int | None = None,
        quality_micro: int = MICRO,
    ) -> None:
        """A task was answered; `quality_micro` is how much faster than this node is used to."""
        old = self.get(peer_id, skill, policy)
        estimate = estimates.after_answer(
            old.estimate,
            policy,
            items=items,
            service_us=service_us,
            queued_items=queued_items,
            elapsed_us=elapsed_us,
            now_us=now_us,
            network_us=network_us,
            predicted_wait_us=predicted_wait_us,
        )
        laid = pheromone.after_result(old.pheromone, policy, quality_micro, now_us)
        self._put(peer_id, skill, old._replace(estimate=estimate, breaker=breaker.after_answer(), pheromone=laid))

    def given_up(self, peer_id: str, skill: str, policy: RoutingPolicy, *, items: int) -> None:
        """A task ended in a way that says nothing about the peer."""
        old = self.get(peer_id, skill, policy)
        estimate = estimates.after_give_up(old.estimate, items)
        self._put(peer_id, skill, old._replace(estimate=estimate, breaker=breaker.after_give_up(old.breaker)))

    def failed(
        self, peer_id: str, skill: str, policy: RoutingPolicy, *, items: int, now_us: int, jitter_permille: int
    ) -> None:
        """A task failed."""
        old = self.get(peer_id, skill, policy)
        after = breaker.after_failure(old.breaker, policy, now_us=now_us, jitter_permille=jitter_permille)
        laid = pheromone.after_result(old.pheromone, policy, 0, now_us)
        estimate = estimates.after_failure(old.estimate, items)
        self._put(peer_id, skill, old._replace(estimate=estimate, breaker=after, pheromone=laid))

    def valid(self, peer_id: str, skill: str, policy: RoutingPolicy, *, now_us: int) -> None:
        """An answer was verified, and is right."""
        old = self.get(peer_id, skill, policy)
        laid = pheromone.after_result(old.pheromone, policy, VERIFIED_QUALITY_MICRO, now_us)
        self._put(peer_id, skill, old._replace(trust=trust.after_valid(old.trust, policy), pheromone=laid))

    def believe(self, peer_id: str, skill: str, policy: RoutingPolicy, believed: Trust) -> None:
        """Trust that was learnt before this start."""
        self._put(peer_id, skill, self.get(peer_id, skill, policy)._replace(trust=believed))

    def invalid(self, peer_id: str, skill: str, policy: RoutingPolicy, *, now_us: int) -> None:
        """An answer was not valid."""
        old = self.get(peer_id, skill, policy)
        laid = pheromone.after_result(old.pheromone, policy, 0, now_us)
        self._put(peer_id, skill, old._replace(trust=trust.after_invalid(old.trust, policy), pheromone=laid))

    def heard(self, peer_id: str, skill: str, policy: RoutingPolicy, report: LoadReport, *, now_us: int) -> None:
        """The peer gave account of its load without an answer."""
        old = self.get(peer_id, skill, policy)
        estimate = estimates.heard(old.estimate, policy, report, at_us=now_us)
        self._put(peer_id, skill, old._replace(estimate=estimate))

    def advertised(
        self, peer_id: str, offer: SkillAdvert, policy: RoutingPolicy, *, sequence: int, now_us: int
    ) -> None:
        """The peer's advert was read: its queue counts, once, unless an answer told of a fresher one."""
        old = self.get(peer_id, offer.name, policy)
        if sequence <= old.advert_sequence:
            return
        heard_us = old.estimate.queued_at_us
        estimate = old.estimate
        if heard_us is None or now_us - heard_us > QUEUE_FRESH_US:
            report = LoadReport(offer.queued_items, source="advert")
            estimate = estimates.heard(estimate, policy, report, at_us=now_us)
        self._put(peer_id, offer.name, old._replace(estimate=estimate, advert_sequence=sequence))

    def _put(self, peer_id: str, skill: str, record: Record) -> None:
        self._records.pop((peer_id, skill), None)
        self._records[peer_id, skill] = record
        if len(self._records) > self.most:
            del self._records[next(iter(self._records))]


def view_of(
    peer_id: PeerId,
    offer: SkillAdvert,
    record: Record,
    policy: RoutingPolicy,
    *,
    local: bool,
    allowed: bool,
    shunned: bool = False,
    round_trip_us: int | None,
    now_us: int,
    unreachable: str | None = None,
    warm: bool = True,
    bandwidth_bytes_s: int | None = None,
) -> CandidateView:
    """Return a peer as a decision sees it; `unreachable` is the reason why it cannot be reached, if it cannot.

    `warm` says that its model is known to be in memory, whatever its advert says.
    """
    estimate = record.estimate
    return CandidateView(
        peer_id=peer_id,
        local=local,
        reachable=unreachable is None,
        unreachable_reason=unreachable or "",
        allowed=allowed,
        shunned=shunned,
        breaker=record.breaker.state(now_us),
        model_digest=offer.model_digest.hex(),
        provider=offer.provider,
        loaded=warm or bool(offer.provider),
        load_us=offer.load_us,
        missing_bytes=0 if warm else offer.missing_bytes,
        bandwidth_bytes_s=bandwidth_bytes_s,
        batch_invariant=offer.batch_invariant,
        batch_items_max=offer.batch_items_max,
        price_microcredits=offer.price_microcredits,
        advertised_us=offer.service_us,
        measured_us=estimate.service_us,
        outstanding_items=estimate.outstanding_items,
        queued_items=estimate.queued_items,
        queue_age_us=None if estimate.queued_at_us is None else max(0, now_us - estimate.queued_at_us),
        queue_source=estimate.queue_source,
        usual_milli=estimate.usual_milli,
        slots=estimate.slots or offer.slots,
        hidden_us=max(0, estimate.hidden_us),
        candour_micro=estimate.candour_micro,
        sent_since_items=estimate.sent_since_items,
        round_trip_us=0 if local else round_trip_us,
        trust_valid_micro=record.trust.valid_micro,
        trust_invalid_micro=record.trust.invalid_micro,
        pheromone_micro=pheromone.level_micro(record.pheromone, policy, now_us),
    )
