from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swarmharness.credit.attribution.games import game_digest
from swarmharness.credit.receipt import ZERO_DIGEST, body_problem
from swarmharness.credit.terms import (
    TaskTerms,
    UnsettledTask,
    UnsettledTasks,
    differing_field,
    settlement_body,
    sole_game,
)
from tests.unit.credit.builders import ALICE, BOB, CAROL, terms


def test_a_settlement_adds_up_its_tasks() -> None:
    tasks = [terms(1), terms(2, epoch=terms().epoch + 1)]
    made = settlement_body(tasks)
    assert body_problem(made) is None
    assert made.share_microcredits == made.price_microcredits == 2_003
    assert (made.items, made.service_us, made.epoch) == (4, 1_000, tasks[1].epoch)
    assert made.game_digest == game_digest(sole_game(BOB.peer_id, [1_001, 1_002]))
    assert differing_field(made, tasks) is None


def test_one_task_keeps_its_own_digests() -> None:
    assert settlement_body([terms()]).input_digest == terms().input_digest


def test_a_game_is_the_requesters_statement() -> None:
    made = settlement_body([terms()], game=b"g" * 32, price_microcredits=9_999)
    assert differing_field(made, [terms()]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"share_microcredits": 1_000},
        {"items": 3},
        {"service_us": 499},
        {"model_digest": ZERO_DIGEST},
        {"input_digest": ZERO_DIGEST},
        {"output_digest": ZERO_DIGEST},
        {"skill": "image-ocr"},
        {"worker": CAROL.peer_id},
    ],
)
def test_the_worker_names_what_the_body_says_otherwise(changes: dict[str, Any]) -> None:
    assert differing_field(replace(settlement_body([terms()]), **changes), [terms()]) == next(iter(changes))


def test_tasks_of_two_models_are_not_settled_together() -> None:
    tasks = [terms(1), terms(2, model_digest=ZERO_DIGEST)]
    assert differing_field(settlement_body(tasks), tasks) == "tasks"


def answered(made: TaskTerms) -> UnsettledTask:
    return UnsettledTask(made, int.from_bytes(made.task))


def test_a_task_is_taken_once_and_only_by_its_requester() -> None:
    unsettled = UnsettledTasks()
    unsettled.add(answered(terms(1)))
    unsettled.add(answered(terms(2)))
    first, second = terms(1).task, terms(2).task
    assert unsettled.owed(ALICE.peer_id) == (2, 2_003)
    assert unsettled.take(BOB.peer_id, [first]) is None
    assert unsettled.take(ALICE.peer_id, [first, b"unknown"]) is None
    assert unsettled.take(ALICE.peer_id, []) is None
    assert len(unsettled) == 2
    taken = unsettled.take(ALICE.peer_id, [second, first])
    assert taken == [answered(terms(2)), answered(terms(1))]
    assert unsettled.take(ALICE.peer_id, [first]) is None, "somebody settles it now"
    assert unsettled.owed(ALICE.peer_id) == (2, 2_003)
    unsettled.give_back(taken)
    assert unsettled.owes_more_than(ALICE.peer_id, 0, answered_before_us=2), "refused, the debt does not get younger"
    assert not unsettled.owes_more_than(ALICE.peer_id, 0, answered_before_us=1)
    assert unsettled.owes_more_than(ALICE.peer_id, 2_002, answered_before_us=3)
    assert not unsettled.owes_more_than(ALICE.peer_id, 2_003, answered_before_us=3)
    assert unsettled.take(ALICE.peer_id, [second, first]) == taken
    unsettled.settled(taken)
    assert unsettled.take(ALICE.peer_id, [first]) is None
    assert len(unsettled) == 0
    assert unsettled.owed(ALICE.peer_id) == (0, 0)


def test_a_requester_that_never_settles_pushes_out_only_its_own_tasks() -> None:
    unsettled = UnsettledTasks(most=10)
    unsettled.add(answered(terms(1, CAROL)))
    for number in range(2, 30):
        unsettled.add(answered(terms(number, ALICE)))
    assert len(unsettled) == 10
    assert unsettled.owed(CAROL.peer_id)[0] == 1
    assert unsettled.take(ALICE.peer_id, [terms(20).task]) is None
    assert unsettled.take(ALICE.peer_id, [terms(21).task]) is not None


def test_the_same_task_twice_is_one_task() -> None:
    unsettled = UnsettledTasks()
    unsettled.add(answered(terms(1)))
    unsettled.add(answered(terms(1)))
    assert len(unsettled) == 1
