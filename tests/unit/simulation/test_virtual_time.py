from __future__ import annotations

import trio

from swarmharness.simulation.virtual_time import EPOCH_START_US, NodeClock, VirtualClock


def test_an_hour_passes_at_once_and_sleepers_wake_in_the_order_of_their_times() -> None:
    clock = VirtualClock()
    woken: list[tuple[float, str]] = []

    async def sleeper(name: str, duration_s: float) -> None:
        await clock.sleep(duration_s)
        woken.append((trio.current_time(), name))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name, duration_s in (("late", 3600.0), ("early", 1.5), ("middle", 60.0)):
                nursery.start_soon(sleeper, name, duration_s)

    trio.run(main, clock=clock)
    assert woken == [(1.5, "early"), (60.0, "middle"), (3600.0, "late")]
    assert clock.jumps == 3


def test_trios_own_deadlines_and_the_clocks_sleepers_share_one_time() -> None:
    clock = VirtualClock()

    async def main() -> tuple[bool, float]:
        with trio.move_on_after(2.0) as scope:
            await clock.sleep(5.0)
        await trio.sleep(1.0)
        return scope.cancelled_caught, trio.current_time()

    assert trio.run(main, clock=clock) == (True, 3.0)


def test_the_end_of_every_step_is_told_before_time_moves() -> None:
    clock = VirtualClock()
    seen: list[float] = []

    async def main() -> None:
        clock.on_jump = lambda: seen.append(clock.current_time())
        await clock.sleep(1.0)
        await clock.sleep(1.0)

    trio.run(main, clock=clock)
    assert seen[:2] == [0.0, 1.0]


def test_what_wakes_no_task_happens_in_its_order_between_the_turns_of_tasks() -> None:
    clock = VirtualClock()
    seen: list[tuple[int, str]] = []

    def happen(name: str) -> bool:
        seen.append((clock.now_us, name))
        return True

    async def main() -> None:
        for name, delay_s in (("late", 3.0), ("early", 1.0)):
            clock.later(delay_s, lambda name=name: happen(name))  # type: ignore[misc]
        with trio.move_on_after(2.0):
            await clock.sleep(5.0)
        happen("deadline")
        await clock.sleep(2.0)
        happen("slept")

    trio.run(main, clock=clock)
    assert seen == [(1_000_000, "early"), (2_000_000, "deadline"), (3_000_000, "late"), (4_000_000, "slept")]
    assert clock.jumps == 4


def test_a_deadlock_is_noticed_and_not_waited_for() -> None:
    clock = VirtualClock()

    async def main() -> None:
        with trio.CancelScope() as scope:
            clock.on_stall = scope.cancel
            await trio.sleep_forever()

    trio.run(main, clock=clock)
    assert clock.stalled


def test_a_nodes_clock_may_be_ahead_and_fast_but_its_monotonic_time_starts_at_zero() -> None:
    clock = VirtualClock()

    async def main() -> tuple[int, int]:
        await clock.sleep(10.0)
        wrong = NodeClock(ahead_us=-5_000_000, drift_ppm=100)
        await clock.sleep(100.0)
        return wrong.monotonic_us(), wrong.unix_us()

    monotonic_us, unix_us = trio.run(main, clock=clock)
    assert monotonic_us == 100_010_000
    assert unix_us == EPOCH_START_US + 10_000_000 + 100_010_000 - 5_000_000
