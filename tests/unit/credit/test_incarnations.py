from __future__ import annotations

from dataclasses import replace
from itertools import permutations

from swarmharness.credit.chain import Floor, Place, opening, place_after
from swarmharness.credit.incarnations import Sighting, own_halves, place_to_sign, renewed_peers
from swarmharness.credit.ledger import HORIZON_EPOCHS
from tests.unit.credit.builders import ALICE, BOB, NOON_US, body, half

FIRST = half(body(1), ALICE)
SECOND = half(body(2), ALICE, FIRST)
THIRD = half(body(3), ALICE, SECOND)
LATER_US = NOON_US + 1_000


def test_a_new_node_opens_its_first_incarnation() -> None:
    assert place_to_sign(None, [], LATER_US) == opening(0, LATER_US)


def test_a_node_whose_store_is_whole_goes_on_c_17() -> None:
    for remembered in ([], [FIRST], [SECOND], [FIRST, SECOND]):
        assert place_to_sign(SECOND, remembered, LATER_US) == place_after(SECOND)


def test_a_lost_tail_or_a_restored_backup_opens_the_next_incarnation_c_17() -> None:
    assert place_to_sign(FIRST, [THIRD, FIRST], LATER_US) == opening(NOON_US, LATER_US)
    assert place_to_sign(FIRST, [SECOND], 5) == Place(NOON_US + 1, 0, bytes(32)), "even with a clock that was set back"


def test_a_rebuilt_store_opens_the_next_incarnation_c_17() -> None:
    assert place_to_sign(None, [SECOND], LATER_US) == opening(NOON_US, LATER_US)
    assert place_to_sign(SECOND, [], LATER_US, doubtful=True) == opening(NOON_US, LATER_US)


def test_something_else_at_the_own_place_opens_the_next_incarnation_c_17() -> None:
    other = half(body(9), ALICE, FIRST)
    assert place_to_sign(SECOND, [other], LATER_US) == opening(NOON_US, LATER_US)


def test_partners_cannot_push_a_node_with_halves_that_it_never_signed() -> None:
    forged = replace(THIRD, signature=bytes(64))
    assert own_halves(ALICE.peer_id, [FIRST, forged, half(body(1), BOB)]) == [FIRST]


def test_a_second_incarnation_makes_a_stranger_until_the_first_has_melted_c_18() -> None:
    sightings = [Sighting("ann", 1, 100), Sighting("ann", 2, 150), Sighting("ben", 1, 100), Sighting("ben", 1, 160)]
    for order in permutations(sightings):
        assert renewed_peers(order, 160) == {"ann"}
    assert renewed_peers(sightings, 100 + HORIZON_EPOCHS - 1) == {"ann"}
    assert renewed_peers(sightings, 100 + HORIZON_EPOCHS) == frozenset()
    assert renewed_peers(sightings, 149) == frozenset(), "a sighting from the future does not count yet"


def test_nothing_is_signed_below_the_floor_c_17() -> None:
    after = place_after(SECOND)
    assert place_to_sign(SECOND, [], LATER_US, floor=Floor(NOON_US, 77)) == replace(after, number=77)
    assert place_to_sign(SECOND, [], LATER_US, floor=Floor(NOON_US, 1)) == after, "the chain has passed it"
    assert place_to_sign(SECOND, [], LATER_US, floor=Floor(NOON_US - 1, 77)) == after, "it was of another incarnation"
    assert place_to_sign(SECOND, [THIRD], LATER_US, floor=Floor(NOON_US, 77)) == opening(NOON_US, LATER_US)
