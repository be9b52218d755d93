"""What this node measured of one peer and skill: service time, own items there, the queue it last reported; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy


@dataclass(frozen=True, slots=True)
class Estimate:
    """Times are in microseconds; the default is: nothing known."""

    service_us: int | None = None
    """Smoothed worker-reported time of one item, without waiting. Never above what was observed here."""
    elapsed_us: int | None = None
    """Smoothed time of one item from sending to answer, as observed here."""
    answers: int = 0
    failures: int = 0
    outstanding_items: int = 0
    """Own items sent there and not yet answered."""
    queued_items: int = 0
    """Items that waited there, by its own account, at `queued_at_us`."""
    queued_at_us: int | None = None
    sent_since_items: int = 0
    """Own items sent after that account."""


def after_send(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after items were sent."""
    return replace(
        estimate,
        outstanding_items=estimate.outstanding_items + items,
        sent_since_items=estimate.sent_since_items + items,
    )


def after_answer(
    estimate: Estimate,
    policy: RoutingPolicy,
    *,
    items: int,
    service_us: int,
    queued_items: int,
    elapsed_us: int,
    now_us: int,
) -> Estimate:
    """Return the estimate after an answer; times are of the whole task, `queued_items` is the peer's account."""
    share = max(1, items)
    return replace(
        estimate,
        service_us=_smoothed(estimate.service_us, max(1, min(service_us, elapsed_us) // share), policy),
        elapsed_us=_smoothed(estimate.elapsed_us, max(1, elapsed_us // share), policy),
        answers=estimate.answers + 1,
        outstanding_items=max(0, estimate.outstanding_items - items),
        queued_items=max(0, queued_items),
        queued_at_us=now_us,
        sent_since_items=0,
    )


def after_give_up(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after a task was cancelled, for whatever reason."""
    return replace(
        estimate,
        outstanding_items=max(0, estimate.outstanding_items - items),
        sent_since_items=max(0, estimate.sent_since_items - items),
    )


def after_failure(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after a task failed."""
    return replace(after_give_up(estimate, items), failures=estimate.failures + 1)


def heard_queue(estimate: Estimate, queued_items: int, *, at_us: int) -> Estimate:
    """Return the estimate after a report of the queue without an answer (advert, probe); older ones are ignored."""
    if estimate.queued_at_us is not None and at_us <= estimate.queued_at_us:
        return estimate
    return replace(estimate, queued_items=queued_items, queued_at_us=at_us, sent_since_items=0)


def _smoothed(old: int | None, sample: int, policy: RoutingPolicy) -> int:
    if old is None:
        return sample
    share_micro = round(policy.smoothing * MICRO)
    return old + ((sample - old) * share_micro + MICRO // 2) // MICRO
