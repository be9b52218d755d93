from __future__ import annotations

from swarmharness.routing.estimates import (
    Estimate,
    LoadReport,
    after_answer,
    after_failure,
    after_give_up,
    after_send,
    heard,
)
from swarmharness.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(smoothing=0.5)


def answered(
    estimate: Estimate, *, items: int = 10, service_us: int = 1000, queued: int = 0, now_us: int = 0
) -> Estimate:
    return after_answer(
        estimate, POLICY, items=items, service_us=service_us, queued_items=queued, elapsed_us=5000, now_us=now_us
    )


def test_the_first_measurement_counts_whole_and_later_ones_by_the_smoothing() -> None:
    first = answered(Estimate())
    assert first.service_us == 100
    assert answered(first, service_us=2000).service_us == 150


def test_a_worker_cannot_claim_more_service_than_time_that_passed_here() -> None:
    assert answered(Estimate(), service_us=10**9).service_us == 500


def test_a_worker_that_claims_no_time_still_counts_a_microsecond() -> None:
    assert answered(Estimate(), service_us=0).service_us == 1


def test_outstanding_items_return_with_answers_failures_and_cancellations() -> None:
    sent = after_send(after_send(after_send(Estimate(), 5), 7), 9)
    assert sent.outstanding_items == 21
    left = after_failure(after_give_up(answered(sent, items=5), 7), 9)
    assert left.outstanding_items == 0
    assert (left.answers, left.failures) == (1, 1)
    assert after_give_up(left, 3).outstanding_items == 0


def test_an_answer_renews_the_queue_and_forgets_what_was_sent_before_it() -> None:
    estimate = answered(after_send(Estimate(), 4), items=4, queued=30, now_us=7)
    assert (estimate.queued_items, estimate.queued_at_us, estimate.sent_since_items) == (30, 7, 0)
    assert after_send(estimate, 6).sent_since_items == 6


def test_an_older_report_of_the_queue_is_ignored() -> None:
    estimate = heard(Estimate(), POLICY, LoadReport(5), at_us=10)
    assert heard(estimate, POLICY, LoadReport(99), at_us=9) == estimate
    assert heard(estimate, POLICY, LoadReport(99, source="probe"), at_us=11).queued_items == 99


def test_a_report_tells_slots_and_moves_the_usual_queue_and_a_measured_service_time() -> None:
    policy = RoutingPolicy(usual_share=0.5, report_share=0.5)
    estimate = heard(Estimate(), policy, LoadReport(4, slots=2, service_us=700), at_us=1)
    assert (estimate.usual_milli, estimate.slots, estimate.service_us) == (4000, 2, None)
    estimate = heard(answered(estimate), policy, LoadReport(0, service_us=700), at_us=2)
    assert (estimate.usual_milli, estimate.slots, estimate.service_us) == (2000, 2, 400)


def test_a_wait_that_the_peers_accounts_did_not_explain_is_found_out_and_lowers_its_candour() -> None:
    policy = RoutingPolicy(candour_share=0.5)
    estimate = Estimate()
    for _ in range(20):
        estimate = after_answer(
            estimate,
            policy,
            items=1,
            service_us=1_000,
            queued_items=0,
            elapsed_us=10_000,
            now_us=0,
            network_us=500,
            predicted_wait_us=1_500,
        )
    assert estimate.hidden_us == 7_000
    assert estimate.candour_micro == 300_000


def test_a_peer_that_is_faster_than_it_said_hides_nothing() -> None:
    estimate = after_answer(
        Estimate(),
        POLICY,
        items=1,
        service_us=1_000,
        queued_items=0,
        elapsed_us=1_000,
        now_us=0,
        predicted_wait_us=90_000,
    )
    assert estimate.hidden_us < 0
    assert estimate.candour_micro == 1_000_000
