from __future__ import annotations

from swarmharness.routing.breaker import Breaker, BreakerState, after_answer, after_failure, after_give_up, after_send
from swarmharness.routing.policy import RoutingPolicy

POLICY = RoutingPolicy(breaker_failures=3, breaker_backoff_ms=1000, breaker_backoff_max_ms=4000)
S = 1_000_000


def fail(breaker: Breaker, now_us: int, times: int = 1) -> Breaker:
    for _ in range(times):
        breaker = after_failure(breaker, POLICY, now_us=now_us, jitter_permille=0)
    return breaker


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert fail(Breaker(), 0, 2).state(0) is BreakerState.CLOSED
    assert fail(Breaker(), 0, 3).state(0) is BreakerState.OPEN


def test_an_answer_forgets_earlier_failures() -> None:
    assert fail(after_answer(), 0, 2).state(0) is BreakerState.CLOSED


def test_after_the_back_off_exactly_one_task_tries() -> None:
    breaker = fail(Breaker(), 0, 3)
    assert breaker.state(1 * S - 1) is BreakerState.OPEN
    assert breaker.state(1 * S) is BreakerState.HALF_OPEN
    trying = after_send(breaker, 1 * S)
    assert trying.state(1 * S) is BreakerState.TRYING
    assert after_answer().state(1 * S) is BreakerState.CLOSED
    assert after_give_up(trying).state(1 * S) is BreakerState.HALF_OPEN


def test_the_back_off_doubles_up_to_its_limit() -> None:
    breaker, now_us, waits = fail(Breaker(), 0, 3), 0, []
    for _ in range(5):
        waits.append((breaker.open_until_us - now_us) // S)
        now_us = breaker.open_until_us
        breaker = fail(after_send(breaker, now_us), now_us)
    assert waits == [1, 2, 4, 4, 4]


def test_late_failures_of_earlier_tasks_do_not_lengthen_the_back_off() -> None:
    breaker = fail(Breaker(), 0, 3)
    assert fail(breaker, 5, 10) == breaker


def test_jitter_lengthens_the_back_off() -> None:
    breaker = after_failure(fail(Breaker(), 0, 2), POLICY, now_us=0, jitter_permille=200)
    assert breaker.open_until_us == 1_200_000


def test_sending_through_a_closed_breaker_changes_nothing() -> None:
    assert after_send(Breaker(failures=1), 0) == Breaker(failures=1)
