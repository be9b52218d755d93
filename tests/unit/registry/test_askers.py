from __future__ import annotations

from swarmharness.registry.askers import ASKERS_MAX, PUSHES_MAX, SKILLS_MAX, WINDOW_US, Askers, Finders, PushLimit
from tests.unit.registry.samples import identity

ALICE, BOB = identity(1).peer_id, identity(2).peer_id


def test_who_asked_hears_of_changes_for_a_while() -> None:
    askers = Askers(kept_us=100)
    askers.add(ALICE, 0)
    askers.add(BOB, 50)
    assert askers.current(99) == (ALICE, BOB)
    assert askers.current(100) == (BOB,)


def test_the_longest_silent_asker_gives_way() -> None:
    askers = Askers(kept_us=100, most=1)
    askers.add(ALICE, 0)
    askers.add(BOB, 1)
    assert askers.current(2) == (BOB,)


def test_finders_are_kept_by_skill_and_bounded() -> None:
    finders = Finders(kept_us=100)
    finders.add("ocr", ALICE, 0)
    assert finders.of("ocr", 1) == (ALICE,)
    assert finders.of("text-embedding", 1) == ()
    for number in range(SKILLS_MAX):
        finders.add(f"skill-{number}", BOB, 1)
    assert finders.of("ocr", 1) == ()
    for number in range(ASKERS_MAX + 3):
        finders.add("skill-5", identity(number).peer_id, 2)
    assert len(finders.of("skill-5", 3)) == ASKERS_MAX


def test_a_peer_may_push_so_often_in_ten_seconds_and_then_again() -> None:
    limit = PushLimit()
    assert [limit.admit(ALICE, 0) for _ in range(PUSHES_MAX + 1)] == [True] * PUSHES_MAX + [False]
    assert limit.admit(BOB, 0)
    assert not limit.admit(ALICE, WINDOW_US - 1)
    assert limit.admit(ALICE, WINDOW_US)
