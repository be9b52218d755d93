from __future__ import annotations

from swarmharness.execution.batching import (
    Waiting,
    abandoned_limit_us,
    admits,
    fill,
    group_by_length,
    restart_delay_us,
    share_us,
    trial_delay_s,
)


def one(size: int = 1, *, alone: bool = False) -> Waiting:
    return Waiting((size,), alone)


def take(*waiting: Waiting, items: int = 4, size_bytes: int = 1000, merge: bool = True) -> tuple[int, ...]:
    return fill(waiting, batch_items=items, batch_bytes=size_bytes, merge=merge)


def test_a_model_that_was_lost_is_left_alone_for_a_minute_and_up_to_an_hour() -> None:
    assert [trial_delay_s(lost) for lost in (0, 1, 5, 6, 10**6)] == [60, 120, 1920, 3600, 3600]


def test_everyone_who_waits_is_taken_up_to_the_limit() -> None:
    assert take(one(), one(), one()) == (1, 1, 1)
    assert take(one(), one(), one(), one(), one()) == (1, 1, 1, 1)


def test_the_last_caller_is_taken_in_part() -> None:
    assert take(Waiting((1, 1, 1)), Waiting((1, 1, 1))) == (3, 1)


def test_nobody_waits_means_nothing_is_taken() -> None:
    assert take() == ()


def test_callers_are_not_merged_when_the_model_depends_on_its_batch() -> None:
    assert take(one(), one(), merge=False) == (1,)


def test_a_caller_that_must_be_alone_is_alone_wherever_it_stands() -> None:
    assert take(one(alone=True), one()) == (1,)
    assert take(one(), one(alone=True), one()) == (1,)


def test_bytes_limit_a_batch_but_one_item_always_goes() -> None:
    assert take(one(600), one(600)) == (1,)
    assert take(one(5000), one(1)) == (1,)
    assert take(Waiting((600, 600)), one(1)) == (1,)


def test_a_call_larger_than_the_queue_may_join_only_when_it_is_empty() -> None:
    assert admits(0, 100, most=10)
    assert not admits(1, 10, most=10)
    assert admits(1, 9, most=10)


def test_the_first_restart_is_at_once_and_later_ones_wait_longer_up_to_ten_seconds() -> None:
    delays = [restart_delay_us(failures) for failures in range(20)]
    assert delays[:4] == [0, 0, 100_000, 200_000]
    assert delays == sorted(delays)
    assert delays[-1] == 10_000_000


def test_an_abandoned_batch_may_run_ten_times_its_measured_time_and_a_second() -> None:
    assert abandoned_limit_us(8, 5_000) == 1_400_000


def test_time_is_shared_by_item_count() -> None:
    assert [share_us(1000, 4, count) for count in (1, 3, 4)] == [250, 750, 1000]


def test_items_of_like_length_share_a_run_and_long_ones_do_not_pad_short_ones() -> None:
    groups = group_by_length([5, 100, 5, 101, 5], most_cells=512)
    assert groups == [[0, 2, 4], [1, 3]]


def test_an_item_longer_than_a_run_gets_one_of_its_own() -> None:
    assert group_by_length([600, 10], most_cells=512) == [[1], [0]]
