"""What no series of events, and no liar, can exceed."""

from __future__ import annotations

from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.identity import PeerId
from swarmharness.registry.models import model_key
from swarmharness.routing.estimates import HIDDEN_US_MAX, Estimate, LoadReport, after_answer, heard
from swarmharness.routing.hedging import TOKENS_MOST_MICRO, HedgeBudget
from swarmharness.routing.pheromone import NEUTRAL, after_result, level_micro
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.probing import FLYING_MAX, ProbePlan

MICRO = 1_000_000

MODEL = model_key("s", b"1")


def _modulo(number: int, limit: int) -> int:
    return number % limit


times_us = st.integers(0, 2**50)


@given(st.lists(st.tuples(st.integers(0, 2**60), times_us), max_size=40), st.floats(1, 1000), times_us)
def test_pheromone_stays_within_its_bounds(results: list[tuple[int, int]], most: float, end_us: int) -> None:
    policy = RoutingPolicy(pheromone_most=most)
    pheromone = NEUTRAL
    for quality, now_us in results:
        pheromone = after_result(pheromone, policy, quality, now_us)
    assert MICRO / most - 2 <= level_micro(pheromone, policy, end_us) <= MICRO * most + 2


@given(st.lists(st.tuples(times_us, times_us, times_us, st.integers(0, 2**32)), max_size=40))
def test_whatever_a_peer_reports_candour_and_what_it_hides_stay_within_bounds(
    answers: list[tuple[int, int, int, int]],
) -> None:
    policy, estimate = RoutingPolicy(), Estimate()
    for number, (service_us, elapsed_us, predicted_us, queued) in enumerate(answers):
        estimate = after_answer(
            heard(estimate, policy, LoadReport(queued, 1, service_us), at_us=number),
            policy,
            items=1,
            service_us=service_us,
            queued_items=queued,
            elapsed_us=elapsed_us,
            now_us=number,
            predicted_wait_us=predicted_us,
        )
        assert abs(estimate.hidden_us) <= HIDDEN_US_MAX
        assert 1 <= estimate.candour_micro <= MICRO
        assert estimate.service_us is not None
        assert estimate.service_us >= 1
        assert 0 <= estimate.usual_milli <= 1000 * 2**32


@given(st.lists(st.booleans(), max_size=200), st.floats(0, 1))
def test_second_copies_never_exceed_their_share(events: list[bool], share: float) -> None:
    policy, budget, requests = RoutingPolicy(hedge_share=share), HedgeBudget(), 0
    for is_request in events:
        if is_request:
            budget.request(policy)
            requests += 1
        else:
            budget.take(policy, items=1, load_milli=0)
        assert budget.sent <= 1 + requests * share + 1e-3
        assert budget._micro <= TOKENS_MOST_MICRO


@given(st.lists(st.tuples(st.sampled_from("rte"), st.integers(0, 30)), max_size=100), st.integers(0, 16))
def test_probes_never_exceed_what_requests_paid_for(events: list[tuple[str, int]], paid: int) -> None:
    plan, peers = ProbePlan(), [PeerId(f"p{number}") for number in range(31)]
    requests = taken = 0
    flying: set[PeerId] = set()
    for kind, number in events:
        if kind == "r":
            plan.request(MODEL, paid)
            requests += 1
        elif kind == "t":
            chosen = plan.take(MODEL, peers, partial(_modulo, number))
            assert not flying & set(chosen)
            flying |= set(chosen)
            taken += len(chosen)
        else:
            plan.ended(peers[number], MODEL)
            flying.discard(peers[number])
        assert taken <= requests * paid
        assert len(flying) <= FLYING_MAX
