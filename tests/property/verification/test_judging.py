from __future__ import annotations

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.credit.attribution.closed_form import batch_values
from swarmharness.credit.attribution.shares import shares_of
from swarmharness.credit.terms import TaskTerms
from swarmharness.execution.tensor_codec import Tensor, encode_tensors
from swarmharness.jobs.messages import Output
from swarmharness.jobs.verification.comparison import agree
from swarmharness.jobs.verification.policy import COIN, answers_max, batch_tasks, must_check
from swarmharness.jobs.verification.reputation import SHUN_S_MAX, Reputation, after_invalid, after_valid, aged
from swarmharness.jobs.verification.settlement import checked_game
from swarmharness.jobs.verification.verdict import Outcome, judge

TASKS = ["tensor", "text-embedding", "file-type", "image-ocr", "memory"]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=7), st.integers(2, 4))
def test_a_verdict_is_a_group_of_the_quorum_larger_than_any_other(answers: list[int], quorum: int) -> None:
    pairs = {(i, j) for i in range(len(answers)) for j in range(i) if answers[i] == answers[j]}
    verdict = judge(len(answers), pairs, quorum=quorum, most=answers_max(quorum))
    sizes = sorted((answers.count(value) for value in set(answers)), reverse=True)
    if verdict.outcome is Outcome.AGREED:
        assert len({answers[place] for place in verdict.right}) == 1
        assert len(verdict.right) == sizes[0] >= quorum
        assert len(sizes) == 1 or sizes[1] < sizes[0]
        assert sorted((*verdict.right, *verdict.wrong)) == list(range(len(answers)))
    else:
        assert not verdict.right
        assert not verdict.wrong
        assert sizes[0] < quorum or sizes[1] == sizes[0]
        assert (verdict.outcome is Outcome.UNDECIDED) == (len(answers) >= answers_max(quorum))


@given(st.integers(2, 8), st.data())
def test_an_honest_majority_of_those_asked_is_never_outvoted_by_wrong_answers_that_differ(
    quorum: int, data: st.DataObject
) -> None:
    most = answers_max(quorum)
    honest = data.draw(st.lists(st.booleans(), min_size=most, max_size=most))
    answers = [-1 if right else place for place, right in enumerate(honest)]
    for count in range(1, most + 1):
        shown = answers[:count]
        pairs = {(i, j) for i in range(count) for j in range(i) if shown[i] == shown[j]}
        verdict = judge(count, pairs, quorum=quorum, most=most)
        if verdict.outcome is Outcome.AGREED:
            assert all(honest[place] for place in verdict.right)
            return


@given(st.sampled_from(TASKS), st.binary(max_size=300), st.binary(max_size=300))
def test_whatever_bytes_a_peer_sends_comparing_them_is_symmetric_and_never_fails(
    task: str, left: bytes, right: bytes
) -> None:
    one, other = Output(left, ""), Output(right, "")
    assert agree(task, (one,), (other,), 1e-3) == agree(task, (other,), (one,), 1e-3)
    assert agree(task, (one,), (one,), 1e-3)


@given(st.lists(st.tuples(st.floats(width=32), st.floats(width=32)), min_size=1, max_size=40))
def test_floats_are_compared_as_their_definition_says(pairs: list[tuple[float, float]]) -> None:
    outputs = []
    for side in (0, 1):
        values = [pair[side] for pair in pairs]
        data = struct.pack(f"<{len(values)}f", *values)
        outputs.append(Output(encode_tensors((Tensor("t", "float32", (len(values),), data),)), ""))
    finite = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    special = [(a, b) for a, b in pairs if not (math.isfinite(a) and math.isfinite(b))]
    largest = max((max(abs(a), abs(b)) for a, b in finite), default=0.0)
    expected = all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in special) and all(
        abs(a - b) <= 1e-3 * largest for a, b in finite
    )
    assert agree("tensor", outputs[:1], outputs[1:], 1e-3) == (expected or outputs[0] == outputs[1])


@given(st.integers(0, 10**9), st.integers(0, COIN - 1))
def test_more_tasks_or_a_shorter_record_never_make_a_check_less_likely(valid: int, draw: int) -> None:
    batch = batch_tasks(valid)
    assert must_check(valid, draw, tasks=batch)
    for tasks in range(1, batch):
        assert must_check(valid, draw, tasks=tasks) <= must_check(valid, draw, tasks=tasks + 1)
    assert must_check(valid + 1, draw) <= must_check(valid, draw)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 30 * 86_400), st.integers(1, 20)), max_size=40),
)
def test_a_reputation_never_gets_better_by_a_wrong_answer(events: list[tuple[bool, int, int]]) -> None:
    now, reputation = 1_700_000_000, Reputation()
    for valid, wait_s, tasks in events:
        now += wait_s
        before = aged(reputation, now)
        if valid:
            reputation = after_valid(reputation, now, tasks)
            assert reputation.valid_in_a_row == before.valid_in_a_row + tasks
            assert reputation.strikes == before.strikes
        else:
            reputation = after_invalid(reputation, now, 600)
            assert reputation.valid_in_a_row == 0
            assert reputation.strikes >= before.strikes
            assert reputation.shunned(now)
        assert reputation.shunned_until_s <= now + SHUN_S_MAX


def _terms(number: int, worker: str, price: int) -> TaskTerms:
    digest = bytes(32)
    return TaskTerms(number.to_bytes(16, "big"), "me", worker, 0, price, digest, digest, digest, "s", 1, 1)


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=20),
    st.integers(0, 19),
    st.sets(st.sampled_from(["b", "c", "d", "e"]), max_size=4),
)
def test_in_the_game_of_a_checked_batch_everybody_gets_the_agreed_price(
    prices: list[int], drawn: int, others: set[str]
) -> None:
    tasks = [_terms(number, "a", price) for number, price in enumerate(prices)]
    checked = tasks[drawn % len(tasks)]
    matching = [_terms(100 + number, name, checked.share_microcredits) for number, name in enumerate(sorted(others))]
    game = checked_game(tasks, checked, matching)
    assert game is not None
    shares = shares_of(game.price, batch_values(game))
    assert shares["a"] == sum(prices)
    assert all(shares[other.worker] == other.share_microcredits for other in matching)
    assert sum(shares.values()) == game.price
