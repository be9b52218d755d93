from __future__ import annotations

from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.records import QUEUE_FRESH_US, Records
from tests.unit.registry.samples import offer

POLICY = RoutingPolicy()
MODEL = offer().model


def queue(records: Records) -> tuple[int, int | None]:
    estimate = records.get("p", MODEL, POLICY).estimate
    return estimate.queued_items, estimate.queued_at_us


def test_the_queue_of_an_advert_counts_once() -> None:
    records = Records()
    records.advertised("p", offer(queued_items=9), POLICY, sequence=1, now_us=0)
    records.advertised("p", offer(queued_items=9), POLICY, sequence=1, now_us=10 * QUEUE_FRESH_US)
    assert queue(records) == (9, 0)
    records.advertised("p", offer(queued_items=4), POLICY, sequence=2, now_us=10 * QUEUE_FRESH_US)
    assert queue(records) == (4, 10 * QUEUE_FRESH_US)


def test_a_fresh_answer_knows_the_queue_better_than_an_advert() -> None:
    records = Records()
    records.answered("p", MODEL, POLICY, items=1, service_us=1, queued_items=30, elapsed_us=1, now_us=5)
    records.advertised("p", offer(queued_items=0), POLICY, sequence=1, now_us=6)
    assert queue(records) == (30, 5)
    records.advertised("p", offer(queued_items=0), POLICY, sequence=2, now_us=6 + QUEUE_FRESH_US)
    assert queue(records) == (0, 6 + QUEUE_FRESH_US)


def test_beyond_the_limit_the_least_recently_changed_is_forgotten() -> None:
    records = Records(most=2)
    for peer in ("a", "b", "a", "c"):
        records.heard(peer, MODEL, POLICY, LoadReport(7), now_us=1)
    assert [records.get(peer, MODEL, POLICY).estimate.queued_items for peer in "abc"] == [7, 0, 7]
