"""Filters and ranks candidates: the two utilities, as costs on integers, and the terms behind them; pure.

A decision compares `cost(n, b) = base + per_item·n + per_byte·b`, one plane for each candidate, because nothing else
depends on the number of items and the bytes of input: with w_time > 0, maximising ln U = -w_time·ln T + S is minimising
T·e^(-S / w_time), and T is linear in both. Everything is an integer, and equal costs go by peer id, so every machine
decides alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.fixedpoint import MICRO, exp_scaled, ln_micro
from swarmharness.routing.locality import bandwidth_bytes_s, input_us, model_us, reserve_milli
from swarmharness.routing.policy import RoutingPolicy

ITEMS_MAX = 2**31
"""No limit on the items of one task, as far as the router is concerned."""

_LN_MICRO = ln_micro(MICRO)


@dataclass(frozen=True, slots=True)
class Line:
    """The cost of a candidate as a function of the number of items and the bytes of input; lower is better."""

    base: int
    per_item: int
    per_byte: int = 0

    def cost(self, items: int, input_bytes: int = 0) -> int:
        """Return the cost for so many items, of so many bytes together."""
        return self.base + self.per_item * items + self.per_byte * input_bytes


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
            costs.append((line(view, policy).cost(request.items, request.input_bytes), view.peer_id))
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
    if view.shunned:
        return "its answers were found wrong, so it is not asked for a while"
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
    counted_milli = _caution_milli(view, policy) * reserve_milli(view, policy) // 1000
    before_us = (view.network_us(policy) + view.wait_us(policy) + model_us(view, policy)) * counted_milli // 1000
    per_byte = 0 if view.local else counted_milli * 1000 * factor // bandwidth_bytes_s(view, policy)
    return Line(before_us * factor, view.service_us(policy) * counted_milli // 1000 * factor, per_byte)


def completion_us(view: CandidateView, policy: RoutingPolicy, items: int, input_bytes: int = 0) -> int:
    """Return the sum of `time_parts_us`, in microseconds; a newcomer's counts more than once."""
    return sum(time_parts_us(view, policy, items, input_bytes).values()) * _caution_milli(view, policy) // 1000


def time_parts_us(view: CandidateView, policy: RoutingPolicy, items: int, input_bytes: int = 0) -> dict[str, int]:
    """Return what the time until the answer is made of: the way, waiting, service, and moving input and model."""
    return {
        "network": view.network_us(policy),
        "wait": view.wait_us(policy),
        "service": items * view.service_us(policy),
        "input": input_us(view, policy, input_bytes),
        "model": model_us(view, policy),
    }


def terms(view: CandidateView, policy: RoutingPolicy, items: int, input_bytes: int = 0) -> tuple[Term, ...]:
    """Return the terms of the candidate's utility; their contributions sum to ln U (completion) or U (additive)."""
    if policy.form == "additive":
        return tuple(
            Term(name, micro / MICRO, "", weight, _weighted(micro, weight) / MICRO)
            for name, micro, weight in _additive_values(view, policy)
        )
    expected_us = max(1, completion_us(view, policy, items, input_bytes))
    reserved_milli = reserve_milli(view, policy)
    reserve = (ln_micro(reserved_milli) - ln_micro(1000)) / MICRO
    pheromone = (ln_micro(max(1, view.pheromone_micro)) - _LN_MICRO) / MICRO
    trust = 2 * (ln_micro(view.trust_micro) - _LN_MICRO) / MICRO
    candour = (ln_micro(max(1, view.candour_micro)) - _LN_MICRO) / MICRO
    price = ln_micro(max(1, view.price_microcredits)) / MICRO
    return (
        Term("time", expected_us / 1000, "ms", policy.time_weight, -policy.time_weight * ln_micro(expected_us) / MICRO),
        Term("gpu reserve", reserved_milli / 1000 - 1, "", policy.time_weight, -policy.time_weight * reserve),
        Term("trust", view.trust_micro / MICRO, "", policy.trust_weight, policy.trust_weight * trust),
        Term(
            "pheromone", view.pheromone_micro / MICRO, "", policy.pheromone_weight, policy.pheromone_weight * pheromone
        ),
        Term("candour", view.candour_micro / MICRO, "", policy.candour_weight, policy.candour_weight * candour),
        Term("price", view.price_microcredits, "µcr/item", policy.price_weight, -policy.price_weight * price),
    )


def _caution_milli(view: CandidateView, policy: RoutingPolicy) -> int:
    return round(1000 * policy.newcomer_caution) if view.is_newcomer else 1000


def _bonus_micro(view: CandidateView, policy: RoutingPolicy) -> int:
    """Return S, the part of ln U that is not time, in micro-nats."""
    weighted = round(policy.trust_weight * MICRO) * 2 * (ln_micro(view.trust_micro) - _LN_MICRO)
    weighted -= round(policy.price_weight * MICRO) * ln_micro(max(1, view.price_microcredits))
    if view.pheromone_micro != MICRO:  # as most are
        weighted += round(policy.pheromone_weight * MICRO) * (ln_micro(max(1, view.pheromone_micro)) - _LN_MICRO)
    if view.candour_micro != MICRO:
        weighted += round(policy.candour_weight * MICRO) * (ln_micro(max(1, view.candour_micro)) - _LN_MICRO)
    return weighted // MICRO


def _weighted(value_micro: int, weight: float) -> int:
    return round(weight * MICRO) * value_micro // MICRO


def _additive_values(view: CandidateView, policy: RoutingPolicy) -> tuple[tuple[str, int, float], ...]:
    """Return name, value in millionths and weight of the four terms of Eq. 1; a filtered peer is always capable."""
    ahead_milli = view.ahead_milli(policy)
    load_micro = ahead_milli * MICRO // (ahead_milli + 1000 * max(1, view.batch_items_max))
    latency_max_us = round(policy.latency_max_ms * 1000)
    latency_micro = min(view.network_us(policy), latency_max_us) * MICRO // latency_max_us
    return (
        ("capable", MICRO, policy.additive_capable_weight),
        ("1 - load", MICRO - load_micro, policy.additive_load_weight),
        ("1 - latency/max", MICRO - latency_micro, policy.additive_latency_weight),
        ("trust", view.trust_micro, policy.additive_trust_weight),
    )
