from __future__ import annotations

from swarmharness.credit.spread.schedule import Schedule
from swarmharness.identity import PeerId

ANN, BOB, ZOE = PeerId("ann"), PeerId("bob"), PeerId("zoe")
PERIOD_US, STAGGER_US = 100_000_000, 2_000_000


def schedule(me: PeerId = BOB) -> Schedule:
    return Schedule(me, period_us=PERIOD_US, stagger_us=STAGGER_US)


def test_of_two_that_meet_the_smaller_id_begins() -> None:
    small, large = schedule(ANN), schedule(BOB)
    small.met(BOB, 0, STAGGER_US - 1)
    large.met(ANN, 0, 0)
    first, second = small.next_due_us(()), large.next_due_us(())
    assert first is not None
    assert second is not None
    assert first < second


def test_whoever_was_reconciled_with_from_the_other_side_is_left_for_a_period() -> None:
    plan = schedule(BOB)
    plan.met(ANN, 0, 0)
    plan.heard(ANN, 1_000_000)
    assert plan.take_due(2 * STAGGER_US, (), 9) == []
    assert plan.next_due_us(()) == 1_000_000 + PERIOD_US
    assert plan.take_due(1_000_000 + PERIOD_US, (), 9) == [ANN]


def test_the_longest_due_comes_first_and_busy_peers_wait() -> None:
    plan = schedule(ANN)
    plan.met(ZOE, 5, 0)
    plan.met(BOB, 0, 0)
    assert plan.next_due_us({BOB}) == 5
    assert plan.take_due(10, {BOB}, 1) == [ZOE]
    assert plan.take_due(10, (), 0) == []
    assert plan.take_due(10, (), 1) == [BOB]
    assert plan.next_due_us(()) is None


def test_the_next_one_is_due_after_half_to_one_and_a_half_periods_or_soon_if_something_is_left() -> None:
    plan = schedule()
    for chance, again, due_us in (
        (0, False, PERIOD_US // 2),
        (PERIOD_US - 1, False, PERIOD_US // 2 + PERIOD_US - 1),
        (0, True, STAGGER_US),
        (PERIOD_US - 1, True, 2 * STAGGER_US - 1),
    ):
        plan.done(ANN, 0, chance, again=again)
        assert plan.next_due_us(()) == due_us


def test_nothing_is_due_with_whoever_is_gone() -> None:
    plan = schedule(ANN)
    plan.met(BOB, 0, 0)
    plan.disconnected(BOB)
    assert plan.next_due_us(()) is None


def test_a_new_partner_is_met_again_though_it_was_just_reconciled_with_as_a_stranger() -> None:
    plan = schedule(ANN)
    plan.heard(BOB, 0)
    plan.done(BOB, 0, 0, again=False)
    plan.met(BOB, 5, 0)
    assert plan.take_due(5, (), 9) == [BOB]


def test_the_period_doubles_up_to_the_most_and_begins_anew_with_a_new_channel() -> None:
    plan = Schedule(ANN, period_us=PERIOD_US, stagger_us=STAGGER_US, most_us=3 * PERIOD_US)

    def next_wait_us() -> int:
        plan.take_due(1_000 * PERIOD_US, (), 9)
        plan.done(BOB, 0, 0, again=False)
        due_us = plan.next_due_us(())
        assert due_us is not None
        return due_us

    assert [next_wait_us() for _ in range(4)] == [PERIOD_US // 2, PERIOD_US, 3 * PERIOD_US // 2, 3 * PERIOD_US // 2]
    plan.disconnected(BOB)
    assert next_wait_us() == PERIOD_US // 2
