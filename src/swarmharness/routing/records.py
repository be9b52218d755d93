"""What the router remembers of each peer and model, and how each event changes it; bounded, pure, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from swarmharness.identity import PeerId
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey
from swarmharness.routing import breaker, estimates, pheromone, trust
from swarmharness.routing.breaker import CLOSED, Breaker
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.estimates import NOTHING_KNOWN, Estimate, LoadReport
from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.pheromone import NEUTRAL, Pheromone
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.table import Choice
from swarmharness.routing.trust import Trust

RECORDS_MAX = 16_384
VERIFIED_QUALITY_MICRO = 2_000_000
"""A verified result lays pheromone as one that came in half the usual time."""
QUEUE_FRESH_US = 10_000_000
"""A queue that a peer reported with an answer is better than the one in its advert for so long."""


class Record(NamedTuple):
    """One peer and model; a tuple, because every event makes a new one."""

    estimate: Estimate
    breaker: Breaker
    trust: Trust
    pheromone: Pheromone = NEUTRAL
    advert_sequence: int = -1
    """Of the advert whose queue was taken in last."""


@dataclass(slots=True)
class Records:
    """All of them; beyond the limit the least recently changed is forgotten.

    A wrong answer costs trust in every model of its skill, and in those that the peer comes with later.
    """

    most: int = RECORDS_MAX
    _records: dict[tuple[str, ModelKey], Record] = field(default_factory=dict)
    _models: dict[tuple[str, str], set[ModelKey]] = field(default_factory=dict)  # of which there is a record
    _at_first: dict[tuple[str, str], Trust] = field(default_factory=dict)  # in a model without a record

    def get(self, peer_id: str, model: ModelKey, policy: RoutingPolicy) -> Record:
        """Return what is remembered, or what is believed of a stranger."""
        record = self._records.get((peer_id, model))
        return record or Record(NOTHING_KNOWN, CLOSED, self.trust_at_first(peer_id, model.skill, policy))

    def trust_at_first(self, peer_id: str, skill: str, policy: RoutingPolicy) -> Trust:
        """Return the trust in a model of the skill that the peer was never seen with."""
        return self._at_first.get((peer_id, skill)) or trust.prior(policy)

    def sent(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, *, items: int, now_us: int) -> None:
        """A task was sent."""
        old = self.get(peer_id, model, policy)
        estimate = estimates.after_send(old.estimate, items)
        self._put(peer_id, model, old._replace(estimate=estimate, breaker=breaker.after_send(old.breaker, now_us)))

    def answered(
        self,
        peer_id: str,
        model: ModelKey,
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
        old = self.get(peer_id, model, policy)
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
        self._put(peer_id, model, old._replace(estimate=estimate, breaker=breaker.after_answer(), pheromone=laid))

    def given_up(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, *, items: int) -> None:
        """A task ended in a way that says nothing about the peer."""
        old = self.get(peer_id, model, policy)
        estimate = estimates.after_give_up(old.estimate, items)
        self._put(peer_id, model, old._replace(estimate=estimate, breaker=breaker.after_give_up(old.breaker)))

    def failed(
        self, peer_id: str, model: ModelKey, policy: RoutingPolicy, *, items: int, now_us: int, jitter_permille: int
    ) -> None:
        """A task failed."""
        old = self.get(peer_id, model, policy)
        after = breaker.after_failure(old.breaker, policy, now_us=now_us, jitter_permille=jitter_permille)
        laid = pheromone.after_result(old.pheromone, policy, 0, now_us)
        estimate = estimates.after_failure(old.estimate, items)
        self._put(peer_id, model, old._replace(estimate=estimate, breaker=after, pheromone=laid))

    def valid(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, *, now_us: int) -> None:
        """An answer was verified, and is right."""
        old = self.get(peer_id, model, policy)
        laid = pheromone.after_result(old.pheromone, policy, VERIFIED_QUALITY_MICRO, now_us)
        self._put(peer_id, model, old._replace(trust=trust.after_valid(old.trust, policy), pheromone=laid))

    def believe(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, believed: Trust) -> None:
        """Trust that was learnt before this start; of a skill as a whole, it holds until a model has its own."""
        if model.digest:
            self._put(peer_id, model, self.get(peer_id, model, policy)._replace(trust=believed))
            return
        self._note_at_first(peer_id, model.skill, believed)
        for known in self._models.get((peer_id, model.skill), ()):
            record = self._records[peer_id, known]
            if record.trust == trust.prior(policy):
                self._records[peer_id, known] = record._replace(trust=believed)

    def invalid(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, *, now_us: int) -> None:
        """An answer was not valid."""
        at_first = self.trust_at_first(peer_id, model.skill, policy)
        old = self.get(peer_id, model, policy)
        laid = pheromone.after_result(old.pheromone, policy, 0, now_us)
        self._put(peer_id, model, old._replace(pheromone=laid))
        for known in self._models[peer_id, model.skill]:
            record = self._records[peer_id, known]
            self._records[peer_id, known] = record._replace(trust=trust.after_invalid(record.trust, policy))
        self._note_at_first(peer_id, model.skill, trust.after_invalid(at_first, policy))

    def heard(self, peer_id: str, model: ModelKey, policy: RoutingPolicy, report: LoadReport, *, now_us: int) -> None:
        """The peer gave account of its load without an answer."""
        old = self.get(peer_id, model, policy)
        estimate = estimates.heard(old.estimate, policy, report, at_us=now_us)
        self._put(peer_id, model, old._replace(estimate=estimate))

    def advertised(
        self, peer_id: str, offer: SkillAdvert, policy: RoutingPolicy, *, sequence: int, now_us: int
    ) -> None:
        """The peer's advert was read: its queue counts, once, unless an answer told of a fresher one."""
        old = self.get(peer_id, offer.model, policy)
        if sequence <= old.advert_sequence:
            return
        heard_us = old.estimate.queued_at_us
        estimate = old.estimate
        if heard_us is None or now_us - heard_us > QUEUE_FRESH_US:
            report = LoadReport(offer.queued_items, source="advert")
            estimate = estimates.heard(estimate, policy, report, at_us=now_us)
        self._put(peer_id, offer.model, old._replace(estimate=estimate, advert_sequence=sequence))

    def load_milli(self, choices: Iterable[Choice], policy: RoutingPolicy) -> int:
        """Return the usual work under way for each slot of these peers, in thousandths; 0 if nothing is known."""
        milli = slots = 0
        for choice in choices:
            estimate = self.get(choice.peer_id, choice.skill.model, policy).estimate
            if estimate.queued_at_us is not None:
                milli += estimate.usual_milli
                slots += estimate.slots or choice.skill.slots
        return milli // slots if slots else 0

    def unheard(self, choices: Iterable[Choice], policy: RoutingPolicy, since_us: int) -> list[PeerId]:
        """Return those of these peers, this node aside, that gave no account of their load since then."""
        found = []
        for choice in choices:
            heard_us = self.get(choice.peer_id, choice.skill.model, policy).estimate.queued_at_us
            if not choice.local and (heard_us is None or heard_us <= since_us):
                found.append(choice.peer_id)
        return found

    def _put(self, peer_id: str, model: ModelKey, record: Record) -> None:
        if self._records.pop((peer_id, model), None) is None:
            self._models.setdefault((peer_id, model.skill), set()).add(model)
        self._records[peer_id, model] = record
        if len(self._records) > self.most:
            self._forget(*next(iter(self._records)))

    def _forget(self, peer_id: str, model: ModelKey) -> None:
        del self._records[peer_id, model]
        models = self._models[peer_id, model.skill]
        models.discard(model)
        if not models:
            del self._models[peer_id, model.skill]

    def _note_at_first(self, peer_id: str, skill: str, believed: Trust) -> None:
        self._at_first.pop((peer_id, skill), None)
        self._at_first[peer_id, skill] = believed
        if len(self._at_first) > self.most:
            del self._at_first[next(iter(self._at_first))]


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
