from __future__ import annotations

from collections.abc import Callable, Iterable

from swarmharness.routing.exploring import preferred
from swarmharness.routing.policy import RoutingPolicy


def draws(numbers: Iterable[int]) -> Callable[[int], int]:
    left = iter(numbers)
    return lambda limit: min(next(left), limit - 1)


def test_the_best_comes_first_without_a_sample_and_without_newcomers() -> None:
    policy = RoutingPolicy(sample=0, explore_share=0)
    assert preferred(50, lambda: [7], policy, draws(())) == 0


def test_a_sample_as_large_as_the_candidates_is_all_of_them() -> None:
    assert preferred(8, list, RoutingPolicy(sample=8, explore_share=0), draws(())) == 0


def test_otherwise_the_best_of_the_sample_comes_first() -> None:
    assert preferred(50, list, RoutingPolicy(sample=3, explore_share=0), draws([30, 4, 12])) == 4


def test_a_newcomer_is_preferred_in_its_share_of_the_decisions() -> None:
    policy = RoutingPolicy(sample=0, explore_share=0.02)
    assert preferred(50, lambda: [7, 9], policy, draws([19_999, 1])) == 9
    assert preferred(50, lambda: [7, 9], policy, draws([20_000])) == 0
    assert preferred(50, list, policy, draws([0])) == 0
