from __future__ import annotations

import pytest

from swarmharness.routing.pheromone import NEUTRAL, after_result, level_micro
from swarmharness.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(pheromone_share=0.5, pheromone_most=4, pheromone_half_life_s=10)
MICRO = 1_000_000


def test_a_result_moves_it_by_its_share_and_within_the_bounds() -> None:
    assert after_result(NEUTRAL, POLICY, 3 * MICRO, 0).micro == 2 * MICRO
    assert after_result(NEUTRAL, POLICY, 10**12, 0).micro == 2_500_000
    assert after_result(NEUTRAL, POLICY, 0, 0).micro == 625_000


@pytest.mark.parametrize("quality", [0, 3 * MICRO])
def test_half_of_what_differs_from_neutral_evaporates_in_a_half_life(quality: int) -> None:
    laid = after_result(NEUTRAL, POLICY, quality, 0)
    left = level_micro(laid, POLICY, 10 * MICRO)
    assert left - MICRO == pytest.approx((laid.micro - MICRO) / 2, rel=0.01)
    assert level_micro(laid, POLICY, 10_000 * MICRO) == pytest.approx(MICRO, abs=1)


def test_a_clock_that_goes_back_adds_nothing() -> None:
    laid = after_result(NEUTRAL, POLICY, 3 * MICRO, 100 * MICRO)
    assert level_micro(laid, POLICY, 0) == laid.micro
