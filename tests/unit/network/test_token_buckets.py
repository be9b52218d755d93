from __future__ import annotations

import pytest

from swarmharness.network import token_buckets
from swarmharness.network.token_buckets import TokenBuckets


def test_a_bucket_gives_its_burst_at_once_and_its_rate_afterwards() -> None:
    buckets = TokenBuckets(per_s=2, burst=3)
    assert [buckets.take("a", 1, 0) for _ in range(4)] == [True, True, True, False]
    assert buckets.take("b", 3, 0)
    assert not buckets.take("a", 1, 499_999)
    assert buckets.take("a", 1, 500_000)
    assert not buckets.has("a", 4, 10**12)
    assert buckets.has("a", 3, 10**12)


def test_who_waits_as_long_as_told_gets_what_it_asked_for_and_not_before() -> None:
    buckets = TokenBuckets(per_s=3, burst=5)
    assert buckets.wait_us("a", 5, 0) == 0
    assert buckets.take("a", 5, 0)
    wait_us = buckets.wait_us("a", 4, 0)
    assert wait_us == 1_333_334
    assert not buckets.has("a", 4, wait_us - 1)
    assert buckets.take("a", 4, wait_us)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = TokenBuckets(per_s=1, burst=1)
    assert buckets.take("a", 1, 5_000_000)
    assert not buckets.take("a", 1, 0)


def test_the_key_that_was_idle_longest_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_buckets, "KEYS_MAX", 2)
    buckets = TokenBuckets(per_s=0, burst=1)
    for key in ("a", "b", "a", "c"):
        buckets.take(key, 1, 0)
    assert not buckets.has("a", 1, 0)
    assert buckets.has("b", 1, 0)


def test_keys_whose_buckets_are_full_again_are_forgotten() -> None:
    buckets = TokenBuckets(per_s=1, burst=2)
    for number in range(100):
        assert buckets.take(f"key {number}", 2, number * 1_000_000)
    assert len(buckets._full_at) <= 3
    assert not buckets.has("key 99", 1, 99_000_000)
