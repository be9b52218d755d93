from __future__ import annotations

import pytest

from swarmharness.jobs.purse import Purse


def test_a_purse_reserves_no_more_than_it_has() -> None:
    purse = Purse(100)
    assert purse.reserve(60)
    assert not purse.reserve(41)
    assert purse.reserve(40)
    assert purse.free_microcredits == 0
    purse.spend(60)
    purse.release(40)
    assert (purse.spent_microcredits, purse.reserved_microcredits, purse.free_microcredits) == (60, 0, 40)


def test_what_turned_out_wrong_comes_back() -> None:
    purse = Purse(10)
    assert purse.reserve(10)
    purse.spend(10)
    purse.refund(10)
    assert purse.free_microcredits == 10


def test_a_purse_without_a_limit_counts_what_is_spent() -> None:
    purse = Purse()
    assert purse.reserve(10**12)
    purse.spend(10**12)
    assert purse.free_microcredits is None
    assert purse.spent_microcredits == 10**12


@pytest.mark.parametrize("method", ["spend", "release", "refund"])
def test_nothing_is_paid_or_given_back_twice(method: str) -> None:
    with pytest.raises(ValueError, match="were not"):
        getattr(Purse(5), method)(1)


def test_a_negative_price_is_not_reserved() -> None:
    assert not Purse(5).reserve(-1)
