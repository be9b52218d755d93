from __future__ import annotations

from swarmharness.credit.grouping import PATIENCE_US, Grouping, kind_of
from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX, SETTLEMENT_TASKS_MAX
from tests.unit.credit.builders import CAROL, terms

KIND = kind_of(terms())


def test_a_lone_task_leaves_at_once() -> None:
    grouping = Grouping()
    assert grouping.add(terms(1), 0) == [terms(1)]
    assert grouping.ended(KIND) == []
    assert grouping.add(terms(2), 0) == [terms(2)]
    assert grouping.next_due_us() is None


def test_those_that_come_during_a_settlement_leave_together_after_it() -> None:
    grouping = Grouping()
    grouping.add(terms(1), 0)
    assert [grouping.add(terms(number), 0) for number in (2, 3, 4)] == [[], [], []]
    assert len(grouping) == 3
    assert grouping.ended(KIND) == [terms(2), terms(3), terms(4)]
    assert not grouping


def test_a_full_group_and_one_that_waited_do_not_wait_for_a_withheld_signature() -> None:
    grouping = Grouping()
    grouping.add(terms(1), 0)
    answers = [grouping.add(terms(number), 0) for number in range(2, 2 + SETTLEMENT_TASKS_MAX)]
    assert [len(answer) for answer in answers] == [0] * (SETTLEMENT_TASKS_MAX - 1) + [SETTLEMENT_TASKS_MAX]
    grouping.add(terms(90), 1_000)
    assert grouping.due(PATIENCE_US) == []
    assert grouping.next_due_us() == PATIENCE_US + 1_000
    assert grouping.due(PATIENCE_US + 1_000) == [[terms(90)]]
    assert grouping.ended(KIND) == grouping.ended(KIND) == []


def test_only_tasks_of_one_worker_skill_and_model_go_together() -> None:
    grouping = Grouping()
    grouping.add(terms(1), 0)
    others = [terms(2, worker=CAROL), terms(3, skill="other"), terms(4, model_digest=bytes(32))]
    assert [grouping.add(other, 0) for other in others] == [[other] for other in others]


def test_a_settlement_never_moves_more_than_a_receipt_can() -> None:
    grouping = Grouping()
    grouping.add(terms(1), 0)
    half = AMOUNT_MICROCREDITS_MAX // 2
    for number in (2, 3):
        assert grouping.add(terms(number, share_microcredits=half), 0) == []
    left = grouping.add(terms(4, share_microcredits=half), 0)
    assert [task.task for task in left] == [terms(2).task, terms(3).task]
    assert len(grouping) == 1
