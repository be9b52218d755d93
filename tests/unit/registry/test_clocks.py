from __future__ import annotations

from swarmharness.registry.clocks import PEERS_MAX, Clocks


def test_the_clock_of_a_node_that_left_is_forgotten_and_of_one_that_is_here_is_not() -> None:
    clocks = Clocks()
    clocks.note("gone", 900, now_us=1)
    clocks.note("here", 900, now_us=2)
    clocks.note("late", 900, now_us=100)
    clocks.forget(50, keep={"here"})
    assert dict(clocks.wrong) == {"here": 900, "late": 900}
    clocks.note("late", 0, now_us=200)
    assert dict(clocks.wrong) == {"here": 900}
    clocks.clear()
    clocks.forget(10**9, keep=())
    assert clocks.compared == 0


def test_no_more_clocks_are_kept_than_allowed_and_the_latest_told_are() -> None:
    clocks = Clocks()
    for number in range(PEERS_MAX + 3):
        clocks.note(f"peer {number}", number, now_us=number)
    assert clocks.compared == PEERS_MAX
    assert clocks.ahead_s("peer 2") is None
    assert clocks.ahead_s(f"peer {PEERS_MAX + 2}") == PEERS_MAX + 2
