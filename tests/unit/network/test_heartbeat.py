from __future__ import annotations

from swarmharness.network.heartbeat import Heartbeat


def test_a_peer_is_dead_after_two_unanswered_pings() -> None:
    heartbeat = Heartbeat(3)
    assert heartbeat.tick(1, 0)
    assert heartbeat.tick(2, 3)
    assert not heartbeat.tick(3, 6)


def test_an_answer_to_a_later_ping_covers_the_earlier_ones() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0)
    heartbeat.tick(2, 3)
    heartbeat.answered(2, 3.1)
    assert heartbeat.tick(3, 6)
    assert heartbeat.tick(4, 9)
    assert not heartbeat.tick(5, 12)


def test_an_answer_to_no_ping_proves_nothing() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0)
    heartbeat.answered(99, 1)
    heartbeat.tick(2, 3)
    assert heartbeat.round_trip_us is None
    assert not heartbeat.tick(3, 6)


def test_after_this_process_was_suspended_the_peer_gets_another_chance() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0)
    heartbeat.tick(2, 3)
    assert heartbeat.tick(3, 60)
    assert heartbeat.tick(4, 63)
    assert not heartbeat.tick(5, 66)


def test_the_round_trip_time_is_smoothed() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0)
    heartbeat.answered(1, 0.008)
    assert heartbeat.round_trip_us == 8_000
    heartbeat.tick(2, 3)
    heartbeat.answered(2, 3.016)
    assert heartbeat.round_trip_us == 9_000  # 8 + (16 - 8) / 8 ms
