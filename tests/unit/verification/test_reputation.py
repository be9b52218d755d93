from __future__ import annotations

from dataclasses import replace

from swarmharness.jobs.verification.reputation import (
    FORGIVEN_S,
    ROW_S,
    SHUN_S_MAX,
    Reputation,
    Reputations,
    after_doubt,
    after_invalid,
    after_valid,
    aged,
    taken_up,
)
from swarmharness.registry.models import model_key

S = model_key("s", b"1")
NOW = 1_800_000_000


def test_valid_answers_in_a_row_are_counted_until_a_wrong_one() -> None:
    proven = after_valid(after_valid(Reputation(), NOW), NOW, tasks=10)
    assert proven.valid_in_a_row == 11
    assert after_invalid(proven, NOW, 600).valid_in_a_row == 0


def test_each_strike_shuns_four_times_as_long_up_to_a_week() -> None:
    reputation, waits = Reputation(), []
    now = NOW
    for _ in range(8):
        reputation = after_invalid(reputation, now, 600)
        waits.append(reputation.shunned_until_s - now)
        assert reputation.shunned(now)
        now = reputation.shunned_until_s
        assert not reputation.shunned(now)
        reputation = replace(reputation, changed_s=now)  # no time to forgive
    assert waits[:3] == [600, 2400, 9600]
    assert waits[-1] == SHUN_S_MAX


def test_what_was_under_way_when_a_cheat_was_found_adds_no_strike() -> None:
    once = after_invalid(Reputation(), NOW, 600)
    assert after_invalid(once, NOW + 1, 600) == once


def test_strikes_are_forgiven_and_rows_end_with_time() -> None:
    struck = after_invalid(Reputation(), NOW, 600)
    assert aged(struck, NOW + FORGIVEN_S).strikes == 0
    proven = after_valid(Reputation(), NOW, tasks=50)
    assert aged(proven, NOW + ROW_S - 1).valid_in_a_row == 50
    assert aged(proven, NOW + ROW_S).valid_in_a_row == 0


def test_a_clock_that_was_set_back_since_shuns_for_no_longer_than_was_left_and_forgives_nothing() -> None:
    struck = after_invalid(Reputation(), NOW, 600)
    month_ago = NOW - 30 * 86_400
    assert taken_up(struck, month_ago) == Reputation(0, 1, month_ago + 600, month_ago)
    assert taken_up(struck, NOW + 100) == struck
    for_ever = replace(struck, shunned_until_s=2**40)
    assert taken_up(for_ever, NOW).shunned_until_s == NOW + SHUN_S_MAX


def test_doubt_begins_a_new_row_without_a_strike() -> None:
    assert after_doubt(after_valid(Reputation(), NOW, tasks=30), NOW) == Reputation(changed_s=NOW)


def test_the_least_recently_changed_reputation_makes_room() -> None:
    known = Reputations(most=2)
    assert known.put(("a", S), after_valid(Reputation(), NOW)) is None
    assert known.put(("b", S), after_valid(Reputation(), NOW)) is None
    known.put(("a", S), after_valid(Reputation(), NOW))
    assert known.put(("c", S), after_valid(Reputation(), NOW)) == ("b", S)
    assert known.get("b", S, NOW) == Reputation()
