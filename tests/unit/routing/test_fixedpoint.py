from __future__ import annotations

import math

import pytest

from swarmharness.routing.fixedpoint import EXP_SCALE, MICRO, exp_scaled, ln_micro


@pytest.mark.parametrize("value", [1, 2, 3, 10, 999_999, MICRO, 2**59, 10**30])
def test_the_logarithm_is_right_to_two_millionths(value: int) -> None:
    assert abs(ln_micro(value) - math.log(value) * MICRO) <= 2


@pytest.mark.parametrize("exponent", [-15_000_000, -1_386_294, -1, 0, 1, 693_147, 9_900_000, 25_000_000])
def test_the_exponential_is_right_to_a_billionth_or_one_unit(exponent: int) -> None:
    exact = math.exp(exponent / MICRO) * EXP_SCALE
    assert abs(exp_scaled(exponent) - exact) <= 1 + exact * 1e-9


def test_the_exponential_never_reaches_zero_and_is_bounded() -> None:
    assert exp_scaled(-(10**12)) == 1
    assert exp_scaled(10**12) == exp_scaled(40 * MICRO)


def test_there_is_no_logarithm_of_nothing() -> None:
    with pytest.raises(ValueError, match="no logarithm"):
        ln_micro(0)


def test_the_results_are_those_of_every_machine() -> None:
    assert [ln_micro(7), ln_micro(123_456_789), exp_scaled(1_234_567), exp_scaled(-1_234_567)] == [
        1945910,
        18631401,
        57661446,
        4881510,
    ]
