from __future__ import annotations

from swarmharness.credit.chain import (
    LEAP_LEAST,
    Floor,
    Place,
    gaps,
    highest,
    is_fork,
    is_successor,
    leap,
    opening,
    place_after,
)
from swarmharness.credit.receipt import ZERO_DIGEST, link_digest
from tests.unit.credit.builders import ALICE, BOB, NOON_US, body, half


def test_the_halves_of_one_signer_link_in_order() -> None:
    first = half(body(1), ALICE)
    second = half(body(2), ALICE, first)
    assert is_successor(first, second)
    assert not is_successor(second, first)
    assert not is_successor(first, half(body(2), BOB, first))
    assert place_after(second) == Place(NOON_US, 2, link_digest(second.content))


def test_a_new_incarnation_is_above_all_that_anyone_remembers_and_above_the_past() -> None:
    assert opening(0, 1_000) == Place(1_000, 0, ZERO_DIGEST)
    assert opening(5_000, 1_000) == Place(5_001, 0, ZERO_DIGEST)


def test_two_contents_at_one_place_are_a_fork() -> None:
    first = half(body(1), ALICE)
    assert is_fork(half(body(2), ALICE, first), half(body(3), ALICE, first))
    assert is_fork(first, half(body(2), ALICE)), "two openings of one incarnation"


def test_what_honest_nodes_do_is_no_fork() -> None:
    first = half(body(1), ALICE)
    assert not is_fork(first, first)
    assert not is_fork(first, half(body(1), BOB)), "another signer"
    assert not is_fork(first, half(body(2), ALICE, first)), "another number"
    assert not is_fork(first, half(body(2), ALICE, place=opening(NOON_US, NOON_US))), "another incarnation"


def test_the_head_is_in_the_highest_incarnation() -> None:
    old = half(body(1), ALICE, place=Place(1, 9, b"p" * 32))
    new = half(body(2), ALICE, place=Place(2, 0, ZERO_DIGEST))
    assert highest([new, old]) == new
    assert highest([]) is None


def test_gaps_are_the_missing_predecessors() -> None:
    assert gaps([0, 1, 4, 5, 8]) == (3, 7)
    assert gaps([]) == gaps([0]) == ()


def test_a_leap_goes_past_everything_that_a_disk_can_have_lost_c_17() -> None:
    last = half(body(1), ALICE)
    assert leap(last, NOON_US + 3_600_000_000) == Floor(NOON_US, 3_600_000_000), "one number a microsecond"
    assert leap(last, NOON_US - 5) == Floor(NOON_US, 1 + LEAP_LEAST), "even with a clock that was set back"
