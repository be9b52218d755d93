from __future__ import annotations

from collections import Counter
from typing import Any, cast

import pytest

from swarmharness.credit.terms import TaskTerms
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.messages import Output
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification import batches as module
from swarmharness.jobs.verification.batches import AMOUNT_MAX, Batches, Unsettled
from swarmharness.jobs.verification.quorum import Question
from swarmharness.registry.models import model_key
from swarmharness.simulation.randomness import SeededRandomness
from tests.unit.verification.rig import SKILL

KEY = "w", model_key("s", bytes(32))


def task(number: int, *, price: int = 10, size: int = 5) -> Unsettled:
    digest = bytes(32)
    terms = TaskTerms(number.to_bytes(16, "big"), "me", "w", 0, price, digest, digest, digest, "s", 1, 1)
    answer = TaskAnswer(PeerId("w"), (Output(b"o", ""),), 1, 0, 1, terms.task.hex(), terms)
    question = Question(SKILL, (bytes(size),), 2, cast(TaskRunner, None), Purse(), 1.0)
    return Unsettled(answer, terms, question, lambda _: None)


def test_a_batch_is_complete_with_its_last_task() -> None:
    batches = Batches()
    for number in range(19):
        assert batches.add(KEY, task(number), limit=20, draw=1, now_us=number) == []
    (batch,) = batches.add(KEY, task(19), limit=20, draw=1, now_us=19)
    assert len(batch.terms) == 20
    assert batch.drawn.terms == task(0).terms
    assert (batches.size(KEY), len(batches)) == (0, 0)


def test_every_task_of_a_batch_is_drawn_equally_often() -> None:
    randomness, drawn = SeededRandomness("draws"), Counter[bytes]()
    for _ in range(2000):
        batches = Batches()
        leaving: list[Any] = []
        for number in range(10):
            leaving = batches.add(KEY, task(number), limit=10, draw=randomness.below(batches.size(KEY) + 1), now_us=0)
        drawn[leaving[0].drawn.terms.task] += 1
    assert len(drawn) == 10
    assert all(abs(count - 200) < 3 * (2000 * 0.1 * 0.9) ** 0.5 + 5 for count in drawn.values())


def test_a_batch_leaves_when_its_time_has_come_or_it_moves_too_much() -> None:
    batches = Batches()
    batches.add(KEY, task(1), limit=20, draw=0, now_us=100)
    assert batches.next_opened_us() == 100
    assert batches.due(99) == []
    assert len(batches.due(100)) == 1
    assert batches.next_opened_us() is None
    assert len(batches.add(KEY, task(2, price=AMOUNT_MAX + 1), limit=20, draw=0, now_us=0)) == 1


def test_what_is_held_is_bounded_in_number_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches(most=2)
    for number in range(2):
        assert batches.add((f"w{number}", KEY[1]), task(number), limit=20, draw=0, now_us=number) == []
    (left,) = batches.add(("w2", KEY[1]), task(2), limit=20, draw=0, now_us=2)
    assert left.key[0] == "w0"
    monkeypatch.setattr(module, "DRAWN_BYTES_MAX", 1000)
    leaving = batches.add(("w1", KEY[1]), task(3, size=2000), limit=20, draw=0, now_us=3)
    assert [batch.key[0] for batch in leaving] == ["w1"]
