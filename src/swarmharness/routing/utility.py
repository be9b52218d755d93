"""Filters and ranks candidates: the two utilities, as costs on integers, and the terms behind them; pure.

A decision compares `cost(n) = base + per_item·n`, one line for each candidate, because that is all that depends on the
number of items: with w_time > 0, maximising ln U = -w_time·ln T + S is minimising T·e^(-S / w_time), and T is linear
in n. Everything is an integer, and equal costs go by peer id, so every machine decides alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.fixedpoint import MICRO, exp_scaled, ln_micro
from swarmharness.routing.policy import RoutingPolicy

ITEMS_MAX = 2**31
"""No limit on the items of one task, as far as the router is concerned."""

_LN_MICRO = ln_micro(MICRO)


@dataclass(frozen=True, slots=True)
class Line:
    """The cost of a candidate as a function of the number of items; lower is better."""

    base: int
    per_item: int

    def cost(self, items: int) -> int:
        """Return the cost for so many items."""
        return self.base + self.per_item * items


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a utility, for a person to read."""

    name: str
    value: float
    unit: str
    weight: float
    contribution: float
    """Weight times the (transformed) value; the utility is the sum of these."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The candidates, best first, and the others with the reason of each, by peer id."""

    order: tuple[str, ...]
    excluded: tuple[tuple[str, str], ...]


def rank(views: Iterable[CandidateView], policy: RoutingPolicy, request: RouteRequest) -> Ranking:
    """Return the decision; the order of `views` does not matter."""
    costs: list[tuple[int, str]] = []
    excluded: list[tuple[str, str]] = []
    for view in views:
        reason = exclusion(view, request)
        if reason:
            excluded.append((view.peer_id, reason))
        else:
            costs.append((line(view, policy).cost(request.items), view.peer_id))
    return Ranking(tuple(peer for _, peer in sorted(costs)), tuple(sorted(excluded)))


def exclusion(view: CandidateView, request: RouteRequest) -> str:
    """Return why the peer cannot get this request, or an empty string."""
    reason = standing_exclusion(view)
    if reason:
        return reason
    if request.items > items_max(view):
        return f"{request.items} items are one batch for this model, and it takes {view.batch_items_max}"
    if request.model_digest and request.model_digest != view.model_digest:
        return f"its model is another one ({view.model_digest[:12]}…)"
    return "the caller does not want it" if view.peer_id in request.exclude else ""


def standing_exclusion(view: CandidateView) -> str:
    """Return why the peer cannot get any request for the skill now, or an empty string."""
    if not view.offers:
        return "it does not offer the skill"
    if view.not_serving and not view.local:
        return f"it serves nobody now: {view.not_serving}"
    if not view.allowed:
        return "the allow or deny list excludes it"
    if not view.reachable:
        return f"it does not answer: {view.unreachable_reason}" if view.unreachable_reason else "it does not answer"
    if view.breaker is BreakerState.OPEN:
        return "its circuit breaker is open: it failed several times in a row"
    if view.breaker is BreakerState.TRYING:
        return "its circuit breaker is half-open, and one task is trying it"
    return ""


def items_max(view: CandidateView) -> int:
    """Return the most items that one task for this peer may hold.

    Where a result depends on its batch, a task is one batch; elsewhere the worker cuts tasks into batches itself.
    """
    return ITEMS_MAX if view.batch_invariant else view.batch_items_max


def line(view: CandidateView, policy: RoutingPolicy) -> Line:
    """Return the candidate's cost as a function of the number of items, under the policy's form."""
    if policy.form == "additive":
        return Line(-sum(_weighted(micro, weight) for _, micro, weight in _additive_values(view, policy)), 0)
    time_weight, bonus = round(policy.time_weight * MICRO), _bonus_micro(view, policy)
    if time_weight == 0:
        return Line(-bonus, 0)
    factor = exp_scaled(-bonus * MICRO // time_weight)
    service_us = view.service_us(policy)
    before_us = view.network_us(policy) + view.ahead_items(service_us) * service_us
    return Line(before_us * factor, service_us * factor)


def completion_us(view: CandidateView, policy: RoutingPolicy, items: int) -> int:
    """Return wait + service + network for so many items, in microseconds."""
    service_us = view.service_us(policy)
    return view.network_us(policy) + (view.ahead_items(service_us) + items) * service_us


def terms(view: CandidateView, policy: RoutingPolicy, items: int) -> tuple[Term, ...]:
    """Return the terms of the candidate's utility; their contributions sum to ln U (completion) or U (additive)."""
    if policy.form == "additive":
        return tuple(
            Term(name, micro / MICRO, "", weight, _weighted(micro, weight) / MICRO)
            for name, micro, weight in _additive_values(view, policy)
        )
    expected_us = max(1, completion_us(view, policy, items))
    pheromone = (ln_micro(max(1, view.pheromone_micro)) - _LN_MICRO) / MICRO
    trust = 2 * (ln_micro(view.trust_micro) - _LN_MICRO) / MICRO
    price = ln_micro(max(1, view.price_microcredits)) / MICRO
    return (
        Term("time", expected_us / 1000, "ms", policy.time_weight, -policy.time_weight * ln_micro(expected_us) / MICRO),
        Term("trust", view.trust_micro / MICRO, "", policy.trust_weight, policy.trust_weight * trust),
        Term(
            "pheromone", view.pheromone_micro / MICRO, "", policy.pheromone_weight, policy.pheromone_weight * pheromone
        ),
        Term("price", view.price_microcredits, "µcr/item", policy.price_weight, -policy.price_weight * price),
    )


def _bonus_micro(view: CandidateView, policy: RoutingPolicy) -> int:
    """Return S, the part of ln U that is not time, in micro-nats."""
    weighted = (
        round(policy.trust_weight * MICRO) * 2 * (ln_micro(view.trust_micro) - _LN_MICRO)
        + round(policy.pheromone_weight * MICRO) * (ln_micro(max(1, view.pheromone_micro)) - _LN_MICRO)
        - round(policy.price_weight * MICRO) * ln_micro(max(1, view.price_microcredits))
    )
    return weighted // MICRO


def _weighted(value_micro: int, weight: float) -> int:
    return round(weight * MICRO) * value_micro // MICRO


def _additive_values(view: CandidateView, policy: RoutingPolicy) -> tuple[tuple[str, int, float], ...]:
    """Return name, value in millionths and weight of the four terms of Eq. 1; a filtered peer is always capable."""
    service_us = view.service_us(policy)
    ahead = view.ahead_items(service_us)
    load_micro = ahead * MICRO // (ahead + max(1, view.batch_items_max))
    latency_max_us = round(policy.latency_max_ms * 1000)
    latency_micro = min(view.network_us(policy), latency_max_us) * MICRO // latency_max_us
    return (
        ("capable", MICRO, policy.additive_capable_weight),
        ("1 - load", MICRO - load_micro, policy.additive_load_weight),
        ("1 - latency/max", MICRO - latency_micro, policy.additive_latency_weight),
        ("trust", view.trust_micro, policy.additive_trust_weight),
    )
