from __future__ import annotations

import math

from swarmharness.network.heartbeat import Heartbeat

NEVER_S = -math.inf


def test_a_peer_is_dead_after_two_unanswered_pings() -> None:
    heartbeat = Heartbeat(3)
    assert heartbeat.tick(1, 0, NEVER_S)
    assert heartbeat.tick(2, 3, NEVER_S)
    assert not heartbeat.tick(3, 6, NEVER_S)


def test_an_answer_to_a_later_ping_covers_the_earlier_ones() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0, NEVER_S)
    heartbeat.tick(2, 3, NEVER_S)
    heartbeat.answered(2, 3.1)
    assert heartbeat.tick(3, 6, NEVER_S)
    assert heartbeat.tick(4, 9, NEVER_S)
    assert not heartbeat.tick(5, 12, NEVER_S)


def test_an_answer_to_no_ping_proves_nothing() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0, NEVER_S)
    heartbeat.answered(99, 1)
    heartbeat.tick(2, 3, NEVER_S)
    assert heartbeat.round_trip_us is None
    assert not heartbeat.tick(3, 6, NEVER_S)


def test_after_this_process_was_suspended_the_peer_gets_another_chance() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0, NEVER_S)
    heartbeat.tick(2, 3, NEVER_S)
    assert heartbeat.tick(3, 60, NEVER_S)
    assert heartbeat.tick(4, 63, NEVER_S)
    assert not heartbeat.tick(5, 66, NEVER_S)


def test_the_round_trip_time_is_smoothed() -> None:
    heartbeat = Heartbeat(3)
    heartbeat.tick(1, 0, NEVER_S)
    heartbeat.answered(1, 0.008)
    assert heartbeat.round_trip_us == 8_000
    heartbeat.tick(2, 3, NEVER_S)
    heartbeat.answered(2, 3.016)
    assert heartbeat.round_trip_us == 9_000  # 8 + (16 - 8) / 8 ms


def test_a_peer_that_sends_is_alive_though_its_answers_are_late() -> None:
    heartbeat = Heartbeat(3)
    for number in range(1, 10):
        assert heartbeat.tick(number, 3 * number, 3 * number - 0.5)


def test_a_peer_that_sends_no_more_is_dead_within_three_intervals() -> None:
    heartbeat = Heartbeat(3)
    alive = [heartbeat.tick(number, 3 * number, 5.5) for number in range(1, 5)]
    assert alive == [True, True, True, False]
