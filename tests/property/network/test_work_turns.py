from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.network.work_turns import LeakyBucket, WorkLimits, Workload

LIMITS = WorkLimits(turn_us=1_000, known_share=0.5, stranger_share=0.05, strangers_share=0.25)


def common() -> LeakyBucket:
    return LeakyBucket(LIMITS.strangers_share, 4 * LIMITS.turn_us)


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(0, 20_000)), max_size=200))
def test_who_keeps_to_its_share_never_waits_and_nobody_gets_more_than_it_without(
    pours: list[tuple[int, int]],
) -> None:
    bucket, now_us, passed_us, owed_us = LeakyBucket(0.1, 1_000), 0, 0, 0.0
    for work_us, pause_us in pours:
        now_us += pause_us
        owed_us = max(0.0, owed_us - 0.1 * pause_us)
        fits = bucket.pour(work_us, now_us / 1e6)
        if owed_us + work_us <= 999:
            assert fits
        elif owed_us + work_us >= 1_001:
            assert not fits
        owed_us = min(1_000, owed_us + work_us)
        passed_us += work_us if fits else 0
        assert passed_us <= 1_001 + 0.1 * now_us


def test_a_clock_that_stands_still_or_goes_back_pays_nothing_off() -> None:
    bucket = LeakyBucket(0.5, 1_000)
    assert bucket.pour(1_000, 5.0)
    assert not bucket.pour(1, 5.0)
    assert not bucket.pour(1, 4.0)


def test_a_known_peer_goes_on_however_many_strangers_wait() -> None:
    bucket = common()
    crowd = [Workload(LIMITS, bucket) for _ in range(100)]
    waiting = 0
    for step in range(100):
        waiting += sum(not one.goes_on(500, step / 100) for one in crowd)
    assert waiting > 9_000
    friend = Workload(LIMITS, None)
    assert all(friend.goes_on(500, 1 + step / 1000) for step in range(1000))


def test_a_stranger_that_becomes_known_leaves_the_crowd() -> None:
    bucket = common()
    peer = Workload(LIMITS, bucket)
    while bucket.pour(500, 0.0):
        pass
    assert not peer.goes_on(100, 0.0)
    peer.know()
    assert peer.goes_on(100, 0.0)
