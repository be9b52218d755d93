from __future__ import annotations

import pytest

from swarmharness.jobs.verification.verdict import Outcome, Verdict, judge


def of(answers: str, *, quorum: int = 2, most: int = 5, certain: int | None = None) -> Verdict:
    """Judge answers written as letters: equal letters agree."""
    pairs = {(i, j) for i in range(len(answers)) for j in range(i) if answers[i] == answers[j]}
    return judge(len(answers), pairs, quorum=quorum, most=most, certain=certain)


@pytest.mark.parametrize(
    ("answers", "right", "wrong"),
    [("aa", (0, 1), ()), ("aba", (0, 2), (1,)), ("abb", (1, 2), (0,)), ("abcb", (1, 3), (0, 2))],
)
def test_two_that_agree_are_believed(answers: str, right: tuple[int, ...], wrong: tuple[int, ...]) -> None:
    assert of(answers) == Verdict(Outcome.AGREED, right, wrong)


@pytest.mark.parametrize(("answers", "missing"), [("a", 1), ("ab", 1), ("aabb", 1), ("abc", 1)])
def test_a_dispute_needs_another_opinion(answers: str, missing: int) -> None:
    assert of(answers) == Verdict(Outcome.MORE, missing=missing)


@pytest.mark.parametrize("answers", ["abcde", "aabbc"])
def test_without_a_majority_within_the_bound_nobody_is_believed(answers: str) -> None:
    assert of(answers) == Verdict(Outcome.UNDECIDED)


def test_the_own_answer_is_beyond_doubt() -> None:
    assert of("bba", certain=2) == Verdict(Outcome.AGREED, (2,), (0, 1))


def test_a_quorum_of_three_asks_for_what_is_missing_at_once() -> None:
    assert of("a", quorum=3, most=7).missing == 2
    assert of("aa", quorum=3, most=7).missing == 1
    assert of("aab", quorum=3, most=7).outcome is Outcome.MORE
    assert of("aaba", quorum=3, most=7) == Verdict(Outcome.AGREED, (0, 1, 3), (2,))
