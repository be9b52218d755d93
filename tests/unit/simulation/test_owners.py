from __future__ import annotations

import pytest

from swarmharness.simulation.owners import offered_next

ALL = ("double", "usual", "slow")
PAYS = {"usual": 1_000_000, "slow": 600_000, "double": 2_000_000}


def test_a_busy_owner_drops_what_pays_least_if_the_rest_keeps_it_from_being_idle() -> None:
    assert offered_next(ALL, PAYS, {"double": 300, "usual": 300, "slow": 300}) == ("double", "usual")
    assert offered_next(("slow", "double"), PAYS, {"double": 600, "slow": 400}) == ("double",)


def test_an_owner_keeps_the_work_that_nothing_would_replace_however_little_it_pays() -> None:
    assert offered_next(ALL, PAYS, {"double": 200, "slow": 800}) == ALL
    assert offered_next(("double", "slow"), PAYS, {"slow": 1000}) == ("double", "slow")


def test_work_in_a_skill_that_was_dropped_before_is_no_reason_to_drop_another() -> None:
    assert offered_next(("double", "usual"), PAYS, {"double": 300, "usual": 300, "slow": 300}) == ("double", "usual")


def test_an_idle_owner_takes_one_skill_back_and_first_the_one_that_pays_most() -> None:
    assert offered_next(("double",), PAYS, {"double": 300}) == ("double", "usual")
    assert offered_next(("usual",), PAYS, {}) == ("usual", "double")
    assert offered_next(ALL, PAYS, {}) == ALL


@pytest.mark.parametrize("busy_permille", [600, 1200])
def test_the_last_skill_is_kept(busy_permille: int) -> None:
    assert offered_next(("double",), PAYS, {"double": busy_permille}) == ("double",)
