from __future__ import annotations

from swarmharness.routing.hedging import HedgeBudget, late_after_us
from swarmharness.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(hedge_share=0.25, hedge_late=3, hedge_least_ms=20, hedge_load_most=2, hedge_items_most=4)


def takes(budget: HedgeBudget, times: int, *, items: int = 1, load_milli: int = 0) -> int:
    return sum(budget.take(POLICY, items=items, load_milli=load_milli) for _ in range(times))


def test_a_request_is_late_after_so_many_times_what_was_predicted_but_not_before_the_least() -> None:
    assert late_after_us(100_000, POLICY) == 300_000
    assert late_after_us(1, POLICY) == 20_000


def test_second_copies_are_a_share_of_the_requests() -> None:
    budget = HedgeBudget()
    assert takes(budget, 5) == 1  # what a node begins with
    for _ in range(8):
        budget.request(POLICY)
    assert takes(budget, 5) == 2
    assert budget.sent == 3


def test_a_quiet_time_saves_up_ten_at_most() -> None:
    budget = HedgeBudget()
    for _ in range(1000):
        budget.request(POLICY)
    assert takes(budget, 100) == 10


def test_under_load_for_large_tasks_and_without_a_share_there_are_none() -> None:
    budget = HedgeBudget()
    assert takes(budget, 1, load_milli=2_001) == 0
    assert takes(budget, 1, items=5) == 0
    assert not budget.take(RoutingPolicy(hedge_share=0), items=1, load_milli=0)
    assert takes(budget, 1, items=4, load_milli=2_000) == 1
