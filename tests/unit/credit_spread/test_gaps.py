from __future__ import annotations

from swarmharness.credit.spread.gaps import ASKED_EVERY_US, GAPS_MAX, PATIENCE_US, Gaps, places_to_check
from tests.unit.credit.builders import ALICE, BOB, CAROL, body, half, receipt

PLACE = (ALICE.peer_id, 7, 3)


def test_places_are_those_of_wanted_signers_that_have_a_predecessor() -> None:
    first, second = body(1), body(2)
    later = half(second, ALICE, half(first, ALICE))
    made = receipt(2)
    chained = type(made)(second, later, made.worker_half)
    incarnation = later.content.incarnation
    assert places_to_check([chained], frozenset({ALICE.peer_id, BOB.peer_id})) == [(ALICE.peer_id, incarnation, 1)]
    assert places_to_check([chained], frozenset({CAROL.peer_id})) == []


def test_a_gap_is_looked_at_after_a_while_and_its_chain_not_again_for_a_minute_c_17() -> None:
    gaps = Gaps()
    gaps.note(BOB.peer_id, PLACE, 0)
    gaps.note(CAROL.peer_id, (ALICE.peer_id, 7, 9), 0)  # one of each chain
    assert gaps.take_due(PATIENCE_US - 1) == []
    (gap,) = gaps.take_due(PATIENCE_US)
    assert (gap.peer, gap.place) == (BOB.peer_id, PLACE)
    gaps.note(BOB.peer_id, PLACE, PATIENCE_US)
    assert gaps.next_due_us() == PATIENCE_US + ASKED_EVERY_US


def test_no_more_gaps_are_kept_than_the_bound() -> None:
    gaps = Gaps()
    for number in range(GAPS_MAX + 5):
        gaps.note(BOB.peer_id, (f"signer-{number}", 1, 3), 0)
    assert len(gaps.take_due(PATIENCE_US)) == GAPS_MAX
    assert gaps.next_due_us() is None
