from __future__ import annotations

from swarmharness.credit.retry import RETRY_DELAYS_US, RetrySchedule, Settlement
from tests.unit.credit.builders import ALICE, BOB, CAROL, body, half


def settlement(number: int = 1, *, to_carol: bool = False) -> Settlement:
    made = body(number, ALICE, CAROL if to_carol else BOB)
    return Settlement(made, half(made, ALICE))


def test_each_try_waits_longer_than_the_one_before() -> None:
    schedule = RetrySchedule()
    dues = []
    for attempts in range(1, len(RETRY_DELAYS_US) + 1):
        schedule.postpone(settlement(), attempts=attempts, now_us=0, jitter_us=7)
        dues.append(schedule.next_due_us())
        assert schedule.take_due(now_us=(dues[-1] or 0) - 1, limit=9) == []
        assert schedule.take_due(now_us=dues[-1] or 0, limit=9) == [(settlement(), attempts)]
    assert dues == [delay + 7 for delay in RETRY_DELAYS_US]
    assert len(schedule) == 0


def test_after_the_last_delay_it_waits_for_its_worker_to_connect() -> None:
    schedule = RetrySchedule()
    schedule.postpone(settlement(), attempts=len(RETRY_DELAYS_US) + 1, now_us=0, jitter_us=0)
    assert schedule.next_due_us() is None
    schedule.hasten(CAROL.peer_id, now_us=50)
    assert schedule.next_due_us() is None
    schedule.hasten(BOB.peer_id, now_us=50)
    assert schedule.take_due(now_us=50, limit=9) == [(settlement(), len(RETRY_DELAYS_US) + 1)]


def test_hastening_leaves_the_others_as_planned() -> None:
    schedule = RetrySchedule()
    schedule.postpone(settlement(1), attempts=2, now_us=0, jitter_us=0)
    schedule.postpone(settlement(2, to_carol=True), attempts=1, now_us=0, jitter_us=0)
    schedule.hasten(BOB.peer_id, now_us=3)
    assert schedule.take_due(now_us=3, limit=9) == [(settlement(1), 2)]
    assert schedule.next_due_us() == RETRY_DELAYS_US[0]
    assert len(schedule) == 1


def test_no_more_are_taken_than_asked_for() -> None:
    schedule = RetrySchedule()
    for number in range(5):
        schedule.postpone(settlement(number), attempts=0, now_us=0, jitter_us=0)
    assert len(schedule.take_due(now_us=0, limit=3)) == 3
    assert len(schedule.take_due(now_us=0, limit=3)) == 2


def test_a_full_schedule_forgets_its_oldest() -> None:
    schedule = RetrySchedule(most=2)
    for number in (1, 2, 3):
        schedule.postpone(settlement(number), attempts=1, now_us=0, jitter_us=0)
    due = schedule.take_due(now_us=10**9, limit=9)
    assert sorted(found.body.tasks[0][-1] for found, _ in due) == [2, 3]
