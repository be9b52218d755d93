from __future__ import annotations

from typing import Any

import pytest

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import USUAL_FADES, RouteRequest
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import completion_us, rank, terms
from tests.unit.routing.views import REQUEST, view

COMPLETION = RoutingPolicy()
ADDITIVE = RoutingPolicy(form="additive")
BOTH = pytest.mark.parametrize("policy", [COMPLETION, ADDITIVE], ids=["completion", "additive"])


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"offers": False}, "does not offer"),
        ({"not_serving": "its owner paused it"}, "it serves nobody now: its owner paused it"),
        ({"allowed": False}, "allow or deny"),
        ({"reachable": False, "unreachable_reason": "reset by peer"}, "does not answer: reset by peer"),
        ({"breaker": BreakerState.OPEN}, "circuit breaker is open"),
        ({"breaker": BreakerState.TRYING}, "one task is trying it"),
        ({"batch_invariant": False, "batch_items_max": 4}, "5 items are one batch for this model, and it takes 4"),
        ({"model_digest": "ab" * 32}, "model is another one"),
        ({"peer_id": "unwanted"}, "caller does not want it"),
    ],
)
@BOTH
def test_who_cannot_get_a_task_is_left_out_with_the_reason(
    policy: RoutingPolicy, known: dict[str, Any], reason: str
) -> None:
    request = RouteRequest("s", 5, frozenset({"unwanted"}), "cd" * 32)
    good = view("good", model_digest="cd" * 32)
    ranking = rank([good._replace(**{"peer_id": "bad", **known}), good], policy, request)
    assert ranking.order == ("good",)
    assert reason in ranking.excluded[0][1]


@BOTH
def test_a_half_open_breaker_and_a_large_task_are_no_reason(policy: RoutingPolicy) -> None:
    ranking = rank([view("p", breaker=BreakerState.HALF_OPEN, batch_items_max=4)], policy, RouteRequest("s", 500))
    assert ranking.order == ("p",)


def test_the_predicted_completion_is_wait_and_service_and_network() -> None:
    busy = view("p", queued_items=10, queue_age_us=0, sent_since_items=3, outstanding_items=2, hidden_us=700)
    assert completion_us(busy, COMPLETION, 5) == 1_000 + (10 + 3 + 5) * 5_000 + 700


def test_an_account_of_a_queue_fades_to_the_usual_one_and_that_to_nothing() -> None:
    policy = RoutingPolicy(queue_fade_ms=1_000)
    for queued, usual in ((10, 4_000), (0, 4_000)):
        half_life_us = 693_147
        old = view("p", queued_items=queued, usual_milli=usual, queue_age_us=half_life_us)
        slow = 2 ** (-1 / USUAL_FADES)
        assert old.ahead_milli(policy) == pytest.approx(usual * slow + (1000 * queued - usual) / 2, rel=0.05)
        assert old._replace(queue_age_us=10**9).ahead_milli(policy) <= 1


def test_slots_that_are_free_make_no_wait_and_several_drain_a_queue_together() -> None:
    assert view("p", slots=4, queued_items=3, queue_age_us=0).wait_us(COMPLETION) == 0
    assert view("p", slots=4, queued_items=7, queue_age_us=0).wait_us(COMPLETION) == 5_000


def test_a_newcomers_claim_counts_with_caution_and_this_nodes_own_does_not() -> None:
    policy = RoutingPolicy(newcomer_caution=3)
    newcomer = view("p", measured_us=None, advertised_us=5_000)
    assert completion_us(newcomer, policy, 1) == 3 * completion_us(view("p"), policy, 1)
    assert completion_us(newcomer._replace(local=True), policy, 1) == 5_000


def test_of_equals_the_one_whose_accounts_explain_its_times_is_preferred() -> None:
    views = [view("a", candour_micro=500_000), view("b")]
    assert rank(views, COMPLETION, REQUEST).order == ("b", "a")


def test_own_items_are_a_lower_bound_of_the_wait() -> None:
    assert completion_us(view("p", queue_age_us=10**9, outstanding_items=4), COMPLETION, 1) == 1_000 + 5 * 5_000


def test_what_was_measured_beats_what_is_claimed_and_both_beat_the_assumption() -> None:
    claims = view("p", advertised_us=100)
    assert claims.service_us(COMPLETION) == 5_000
    assert claims._replace(measured_us=None).service_us(COMPLETION) == 100
    assert claims._replace(measured_us=None, advertised_us=0).service_us(COMPLETION) == 20_000


def test_this_node_needs_no_network() -> None:
    assert view("p", local=True, round_trip_us=None).network_us(COMPLETION) == 0
    assert view("p", round_trip_us=None).network_us(COMPLETION) == 20_000


def test_small_tasks_go_near_and_large_ones_go_fast() -> None:
    near, fast = (
        view("near", measured_us=9_000, round_trip_us=100),
        view("fast", measured_us=1_000, round_trip_us=40_000),
    )
    assert rank([near, fast], COMPLETION, RouteRequest("s", 1)).order == ("near", "fast")
    assert rank([near, fast], COMPLETION, RouteRequest("s", 64)).order == ("fast", "near")


def test_a_peer_trusted_half_as_much_must_be_four_times_as_fast() -> None:
    doubted = {"trust_valid_micro": 1_000_000, "trust_invalid_micro": 3_000_000, "round_trip_us": 0}
    slow, request = view("z", round_trip_us=0, measured_us=4_000), RouteRequest("s", 1)
    assert rank([view("a", **doubted, measured_us=990), slow], COMPLETION, request).order == ("a", "z")
    assert rank([view("a", **doubted, measured_us=1_010), slow], COMPLETION, request).order == ("z", "a")


def test_equals_go_by_peer_id() -> None:
    views = [view(name) for name in ("b", "c", "a")]
    for policy in (COMPLETION, ADDITIVE):
        assert rank(views, policy, REQUEST).order == ("a", "b", "c")


def test_without_a_weight_on_time_only_the_rest_counts() -> None:
    policy = RoutingPolicy(time_weight=0)
    views = [view("cheap", price_microcredits=1, measured_us=10**9), view("dear", price_microcredits=9)]
    assert rank(views, policy, REQUEST).order == ("cheap", "dear")


@BOTH
def test_the_order_is_that_of_the_sums_of_the_terms(policy: RoutingPolicy) -> None:
    views = [
        view(
            f"p{number}",
            measured_us=1_000 + 977 * number,
            queued_items=(number * 7) % 5,
            round_trip_us=100_000 // (number + 1),
        )
        for number in range(20)
    ]
    order = rank(views, policy, RouteRequest("s", 3)).order
    sums = {each.peer_id: sum(term.contribution for term in terms(each, policy, 3)) for each in views}
    assert list(order) == sorted(sums, key=lambda peer: (-round(sums[peer], 5), peer))


def test_the_additive_terms_are_those_of_the_papers_equation_1() -> None:
    policy = RoutingPolicy(form="additive", additive_load_weight=0.5, latency_max_ms=100)
    found = {
        term.name: (term.value, term.contribution)
        for term in terms(view("p", outstanding_items=32, round_trip_us=25_000), policy, 1)
    }
    assert found == {
        "capable": (1.0, 0.25),
        "1 - load": (0.5, 0.25),
        "1 - latency/max": (0.75, 0.1875),
        "trust": (0.5, 0.125),
    }


def test_a_free_peer_and_an_extreme_price_are_both_fine() -> None:
    views = [view("free", price_microcredits=0), view("dear", price_microcredits=2**60)]
    assert rank(views, RoutingPolicy(price_weight=1000), REQUEST).order == ("free", "dear")
