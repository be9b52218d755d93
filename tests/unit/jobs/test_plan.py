from swarmharness.jobs.plan import ItemFailure, JobPlan, PlanSettings

FAST_AND_SLOW = {"fast": 100.0, "slow": 10.0}


def plan_of(lengths: list[int], **settings: int) -> JobPlan:
    plan = JobPlan(PlanSettings(**settings))
    plan.feed(enumerate(lengths))
    return plan


def test_chunks_follow_the_measured_speed_of_each_peer() -> None:
    plan = plan_of([10] * 1000, chunk_target_us=400_000)
    fast = plan.take("fast", now_us=0, rates=FAST_AND_SLOW)
    slow = plan.take("slow", now_us=0, rates=FAST_AND_SLOW)
    assert fast is not None
    assert slow is not None
    assert (len(fast.indices), len(slow.indices)) == (40, 4)


def test_items_of_like_length_travel_together_and_the_longest_go_first() -> None:
    plan = plan_of([5, 90, 6, 91], chunk_target_us=200_000, chunk_floor_us=200_000)
    chunk = plan.take("p", now_us=0, rates={"p": 10.0})
    assert chunk is not None
    assert set(chunk.indices) == {1, 3}


def test_an_unmeasured_peer_gets_a_small_first_chunk() -> None:
    chunk = plan_of([1] * 100, first_chunk_items=7).take("new", now_us=0, rates={"new": 0.0})
    assert chunk is not None
    assert len(chunk.indices) == 7


def test_a_chunk_never_exceeds_its_bytes_but_carries_at_least_one_item() -> None:
    plan = plan_of([600, 600, 5000], chunk_bytes_max=1200)
    sizes = []
    while (chunk := plan.take("p", now_us=0, rates={"p": 0.0})) is not None:
        sizes.append(len(chunk.indices))
    assert sizes == [1, 2]


def test_the_chunk_of_a_lost_peer_goes_to_another_and_not_back() -> None:
    plan = plan_of([1] * 4)
    rates = {"a": 0.0, "b": 0.0}
    chunk = plan.take("a", now_us=0, rates=rates)
    assert chunk is not None
    assert plan.failed(chunk.chunk_id, "lost", blame_items=False) == ()
    assert plan.take("a", now_us=0, rates=rates) is None
    again = plan.take("b", now_us=0, rates=rates)
    assert again is not None
    assert again.indices == chunk.indices


def test_a_chunk_that_failed_everywhere_is_tried_again_anywhere() -> None:
    plan = plan_of([1])
    for peer in ("a", "b", "a"):
        chunk = plan.take(peer, now_us=0, rates={"a": 0.0, "b": 0.0})
        assert chunk is not None
        plan.failed(chunk.chunk_id, "lost", blame_items=False)
    assert plan.unanswered == {0}


def test_a_poison_item_fails_alone() -> None:
    plan = plan_of([1] * 16, first_chunk_items=16)
    failures: list[ItemFailure] = []
    answered: list[int] = []
    while not plan.finished:
        chunk = plan.take("p", now_us=0, rates={"p": 0.0})
        assert chunk is not None
        if 11 in chunk.indices:
            failures.extend(plan.failed(chunk.chunk_id, "crashed", blame_items=True))
        else:
            answered.extend(plan.answered(chunk.chunk_id))
    assert failures == [ItemFailure(11, "crashed")]
    assert sorted(answered) == [index for index in range(16) if index != 11]


def test_an_idle_fast_peer_repeats_the_chunk_of_a_slow_one_and_the_first_answer_wins() -> None:
    plan = plan_of([1] * 16)
    slow = plan.take("slow", now_us=0, rates={"slow": 0.0})
    assert slow is not None
    copy = plan.take("fast", now_us=300_000_000, rates={"slow": 0.1, "fast": 100.0})
    assert copy is not None
    assert copy.indices == slow.indices
    assert plan.answered(copy.chunk_id) == copy.indices
    assert plan.superfluous() == (slow.chunk_id,)
    assert plan.answered(slow.chunk_id) == ()
    assert plan.finished


def test_a_slow_idle_peer_does_not_repeat_what_a_fast_one_will_finish_sooner() -> None:
    plan = plan_of([1] * 16)
    assert plan.take("fast", now_us=0, rates={"fast": 1000.0}) is not None
    assert plan.take("slow", now_us=1000, rates={"fast": 1000.0, "slow": 0.1}) is None


def test_the_failure_of_one_copy_leaves_the_other_flying() -> None:
    plan = plan_of([1])
    first = plan.take("slow", now_us=0, rates={"slow": 0.0})
    assert first is not None
    copy = plan.take("fast", now_us=10**9, rates={"slow": 0.0, "fast": 10.0})
    assert copy is not None
    assert plan.failed(copy.chunk_id, "lost", blame_items=False) == ()
    assert plan.take("other", now_us=10**9, rates={"other": 0.0}) is not None  # takes over, does not retry
    assert plan.answered(first.chunk_id) == (0,)


def test_a_slow_peer_gets_nothing_that_it_would_finish_last() -> None:
    rates = {"fast": 100.0, "slow": 1.0}
    plan = plan_of([1] * 50)
    slow = plan.take("slow", now_us=0, rates=rates)
    assert slow is None, "one item takes it a second, and all of them take the other half a second"
    fast = plan.take("fast", now_us=0, rates=rates)
    assert fast is not None


def test_a_slow_peer_helps_while_there_is_much_to_do() -> None:
    plan = plan_of([1] * 1000)
    slow = plan.take("slow", now_us=0, rates={"fast": 100.0, "slow": 10.0})
    assert slow is not None
    assert plan.take("slow", now_us=0, rates={"fast": 100.0, "slow": 10.0}) is not None


def test_somebody_always_may_take_the_last_item() -> None:
    rates = {"a": 10.0, "b": 10.0, "c": 10.0}
    plan = plan_of([1])
    assert [plan.take(peer, now_us=0, rates=rates) is None for peer in rates] == [False, True, True]


def test_short_items_of_an_early_block_do_not_wait_for_all_later_ones() -> None:
    plan = plan_of([1, 2, 50, 60, 70, 80], block_items_max=2, first_chunk_items=2)
    chunks = [plan.take("p", now_us=0, rates={"p": 0.0}) for _ in range(3)]
    assert [set(chunk.indices) for chunk in chunks if chunk is not None] == [{0, 1}, {2, 3}, {4, 5}]


def test_no_more_items_are_taken_than_can_be_paid() -> None:
    plan = plan_of([1] * 20)
    rates = {"p": 0.0}
    chunk = plan.take("p", now_us=0, rates=rates, items_max=3)
    assert chunk is not None
    assert len(chunk.indices) == 3
    assert plan.take("p", now_us=0, rates=rates, items_max=0) is None
    plan.failed(chunk.chunk_id, "lost", blame_items=False)
    again = plan.take("q", now_us=0, rates={"q": 0.0}, items_max=1)
    assert again is not None
    assert len(again.indices) == 1, "what failed is cut too"
    assert len(plan) == 20


def test_what_is_put_back_is_done_again_before_anything_fresh() -> None:
    plan = plan_of([1] * 8, first_chunk_items=4)
    first = plan.take("p", now_us=0, rates={"p": 0.0})
    assert first is not None
    plan.answered(first.chunk_id)
    assert plan.put_back(first.indices[:2]) == first.indices[:2]
    assert plan.put_back(first.indices[:2]) == (), "they are unanswered now"
    again = plan.take("p", now_us=0, rates={"p": 0.0})
    assert again is not None
    assert again.indices == first.indices[:2]


def test_a_late_copy_of_what_was_put_back_settles_nothing() -> None:
    plan = plan_of([1] * 16)
    slow = plan.take("slow", now_us=0, rates={"slow": 0.0})
    assert slow is not None
    copy = plan.take("fast", now_us=300_000_000, rates={"slow": 0.1, "fast": 100.0})
    assert copy is not None
    plan.answered(copy.chunk_id)
    plan.put_back(copy.indices)
    assert plan.answered(slow.chunk_id) == ()
    assert len(plan) == 16


def test_the_length_of_what_is_handed_out_next_is_known_so_that_its_way_can_be_reckoned() -> None:
    plan = JobPlan()
    assert plan.next_bytes == 0
    plan.feed([(0, 10), (1, 300), (2, 20)])
    assert plan.next_bytes == 300
    chunk = plan.take("a", now_us=0, rates={"a": 0.0})
    assert chunk is not None
    assert plan.next_bytes == 0


def test_a_single_item_goes_where_it_would_be_back_first_and_not_to_the_fastest_whatever_waits_there() -> None:
    rates = {"fast but busy": 100.0, "slow and idle": 10.0}
    plan = JobPlan()
    plan.feed([(0, 10)])
    assert plan.take("slow and idle", now_us=0, rates=rates) is None
    chunk = plan.take("slow and idle", now_us=0, rates=rates, soonest=True)
    assert chunk is not None
    assert chunk.indices == (0,)


def test_a_single_request_is_not_repeated_while_its_peer_is_not_very_late() -> None:
    rates = {"holder": 10.0, "idle": 100.0}
    plan = plan_of([1])
    holder = plan.take("holder", now_us=0, rates=rates, soonest=True)
    assert holder is not None
    late_us = holder.expected_us
    assert late_us == 100_000
    for now_us in (0, late_us, 3 * late_us):
        assert plan.take("idle", now_us=now_us, rates=rates) is None, "second copies of requests are hedging's part"
    assert plan.take("idle", now_us=4 * late_us + 2_000_001, rates=rates) is not None


def test_what_a_peer_does_for_others_counts_in_when_its_chunk_is_late() -> None:
    rates = {"holder": 10.0, "idle": 100.0}
    plan = plan_of([1])
    holder = plan.take("holder", now_us=0, rates=rates, soonest=True, begins_us={"holder": 3_000_000}.__getitem__)
    assert holder is not None
    assert holder.expected_us == 3_100_000


def test_a_peer_that_has_done_its_part_repeats_what_it_would_clearly_finish_sooner() -> None:
    def end_of_a_job(begins_us: int) -> bool:
        plan = plan_of([1] * 17)
        slow = plan.take("slow", now_us=0, rates={"slow": 0.0})
        assert slow is not None
        fast = plan.take("fast", now_us=0, rates={"fast": 0.0})
        assert fast is not None
        assert plan.take("fast", now_us=0, rates={"fast": 100.0}) is None, "it has answered nothing yet"
        plan.answered(fast.chunk_id)
        again = plan.take("fast", now_us=10_000, rates={"fast": 100.0}, begins_us=lambda _: begins_us)
        return again is not None

    assert end_of_a_job(begins_us=0), "160 ms against 390"
    assert not end_of_a_job(begins_us=40_000), "200 ms against 390 is not clear"


def test_a_block_is_what_all_peers_do_in_two_seconds_so_that_first_results_come_soon() -> None:
    def first_taken(rate: float) -> int:
        plan = plan_of(list(range(10_000)))
        chunk = plan.take("p", now_us=0, rates={"p": rate, "q": rate})
        assert chunk is not None
        return chunk.indices[0]

    # The longest of the first block goes first, and lengths grow with the index here.
    assert [first_taken(rate) for rate in (0.0, 10.0, 500.0, 1e6)] == [63, 63, 1999, 4095]


def test_the_end_of_a_job_begins_when_nothing_is_left_to_hand_out_and_somebody_is_done() -> None:
    plan = plan_of([1] * 32)
    first, second = (plan.take(peer, now_us=0, rates={"a": 0.0, "b": 0.0}) for peer in "ab")
    assert first is not None
    assert second is not None
    ending = [plan.ending]
    plan.answered(first.chunk_id)
    ending.append(plan.ending)
    plan.feed([(32, 1)])
    ending.append(plan.ending)
    assert ending == [False, True, False], "nobody is done; one is; there is more to hand out"
