"""What this node knows of one peer and skill: service time, own items there, the load it reports, its candour; pure.

A report of load comes with an answer, a probe, gossip or an advert; the freshest counts. Reports are checked against
what happens: `hidden_us` is how much longer answers take than the reports before them explained, whatever the lie was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy

HIDDEN_US_MAX = 60_000_000


@dataclass(frozen=True, slots=True)
class LoadReport:
    """A peer's account of one skill."""

    queued_items: int
    """Items that it has accepted and not answered, those under way included."""
    slots: int = 0
    """Items that it works on at a time; 0: not said."""
    service_us: int = 0
    """Time of one item there lately, as it claims; 0: not said."""
    source: str = "gossip"
    """Where it comes from: answer, probe, gossip or advert."""
    latency_us: int = 0
    """Time in which it answered lately at such a queue, as it claims; 0: not said."""


class Estimate(NamedTuple):
    """Times are in microseconds; the default is: nothing known. A tuple, because every event makes a new one."""

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
    queue_source: str = ""
    """Where that account came from."""
    usual_milli: int = 0
    """Items that its accounts name on average, in thousandths: what an old account fades to."""
    slots: int = 0
    """Items that it works on at a time, by its own account; 0: as advertised."""
    sent_since_items: int = 0
    """Own items sent after that account."""
    hidden_us: int = 0
    """Smoothed wait that answers showed beyond what its accounts had led to expect; negative if it was less."""
    task_us: int = 0
    """Smoothed time of a whole task from sending to answer."""

    @property
    def candour_micro(self) -> int:
        """Share of the time of its answers that its accounts explain, in millionths: 10^6 for an honest peer."""
        if self.hidden_us <= 0 or self.task_us <= 0:
            return MICRO
        return max(1, MICRO * max(0, self.task_us - self.hidden_us) // self.task_us)


NOTHING_KNOWN = Estimate()


def after_send(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after items were sent."""
    return estimate._replace(
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
    network_us: int = 0,
    predicted_wait_us: int | None = None,
) -> Estimate:
    """Return the estimate after an answer; times are of the whole task, `queued_items` is the peer's account.

    `predicted_wait_us` is what its accounts promised when the task was sent; None if nobody noted that.
    """
    share = max(1, items)
    hidden_us = estimate.hidden_us
    if predicted_wait_us is not None:
        waited_us = max(0, elapsed_us - network_us - min(service_us, elapsed_us))
        surprise_us = max(-HIDDEN_US_MAX, min(HIDDEN_US_MAX, waited_us - predicted_wait_us))
        hidden_us = _moved(hidden_us, surprise_us, policy.candour_share)
    known_us = max(1, min(service_us, elapsed_us) // share)
    answered = estimate._replace(
        service_us=_smoothed(estimate.service_us, known_us, policy.smoothing),
        elapsed_us=_smoothed(estimate.elapsed_us, max(1, elapsed_us // share), policy.smoothing),
        task_us=_smoothed(estimate.task_us or None, max(1, elapsed_us), policy.candour_share),
        answers=estimate.answers + 1,
        outstanding_items=max(0, estimate.outstanding_items - items),
        hidden_us=hidden_us,
    )
    return heard(answered, policy, LoadReport(max(0, queued_items), source="answer"), at_us=now_us)


def after_give_up(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after a task was cancelled, for whatever reason."""
    return estimate._replace(
        outstanding_items=max(0, estimate.outstanding_items - items),
        sent_since_items=max(0, estimate.sent_since_items - items),
    )


def after_failure(estimate: Estimate, items: int) -> Estimate:
    """Return the estimate after a task failed."""
    return after_give_up(estimate, items)._replace(failures=estimate.failures + 1)


def heard(estimate: Estimate, policy: RoutingPolicy, report: LoadReport, *, at_us: int) -> Estimate:
    """Return the estimate after a report of load; one that is older than the last changes nothing."""
    if estimate.queued_at_us is not None and at_us < estimate.queued_at_us:
        return estimate
    milli = 1000 * report.queued_items
    usual = milli if estimate.queued_at_us is None else _moved(estimate.usual_milli, milli, policy.usual_share)
    service_us = estimate.service_us
    if report.service_us and service_us is not None:  # before the first answer the advert's claim is as good
        service_us = max(1, _moved(service_us, report.service_us, policy.report_share))
    return estimate._replace(
        service_us=service_us,
        queued_items=report.queued_items,
        queued_at_us=at_us,
        queue_source=report.source,
        usual_milli=usual,
        slots=report.slots or estimate.slots,
        sent_since_items=0,
    )


def _smoothed(old: int | None, sample: int, share: float) -> int:
    return sample if old is None else _moved(old, sample, share)


def _moved(old: int, sample: int, share: float) -> int:
    return old + ((sample - old) * round(share * MICRO) + MICRO // 2) // MICRO
