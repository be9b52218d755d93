from __future__ import annotations

import pytest

from swarmharness.jobs.verification.policy import COIN, answers_max, batch_tasks, must_check


@pytest.mark.parametrize(("valid", "tasks"), [(0, 1), (9, 1), (10, 10), (13, 13), (20, 20), (10**6, 20)])
def test_a_check_covers_one_task_of_a_new_peer_and_twenty_of_a_proven_one(valid: int, tasks: int) -> None:
    assert batch_tasks(valid) == tasks


def test_the_rate_is_that_of_adaptive_replication() -> None:
    assert must_check(9, COIN - 1)
    for valid in (10, 12, 20, 500):
        share = max(1 / valid, 0.05)
        checked = sum(must_check(valid, draw) for draw in range(0, COIN, 100)) * 100 / COIN
        assert checked == pytest.approx(share, abs=1e-3)


def test_a_part_of_a_batch_is_checked_as_likely_as_its_tasks_together() -> None:
    assert must_check(20, COIN - 1, tasks=20)
    assert must_check(20, COIN // 2 - 1, tasks=10)
    assert not must_check(20, COIN // 2, tasks=10)


def test_a_quorum_can_be_reached_however_all_but_a_minority_answer() -> None:
    assert answers_max(2) == 5
    assert answers_max(3) == 7
