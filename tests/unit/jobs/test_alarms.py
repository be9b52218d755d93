from __future__ import annotations

import pytest
import trio
import trio.testing

from swarmharness.jobs.alarms import Alarms


async def test_what_is_due_is_started_in_time_and_what_was_called_off_is_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    alarms, started = Alarms(), list[tuple[str, float]]()

    def note(name: str) -> None:
        started.append((name, trio.current_time() - began_s))

    async def first() -> None:
        note("first")

    async def last() -> None:
        note("last")

    async with trio.open_nursery() as nursery:
        began_s = trio.current_time()
        early = alarms.set(1, first)
        alarms.set(5, last)
        nursery.start_soon(alarms.run)
        await trio.testing.wait_all_tasks_blocked()
        middle = alarms.set(3, first)
        alarms.set(2, first)
        alarms.call_off(middle)
        alarms.call_off(early)
        await trio.sleep(10)
        alarms.call_off(early)
        alarms.set(1, last)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert [name for name, _ in started] == ["first", "last", "last"]
    assert [at_s for _, at_s in started] == pytest.approx([2, 5, 11])


async def test_nothing_starts_that_is_called_off_at_the_last_moment(autojump_clock: trio.testing.MockClock) -> None:
    alarms, started = Alarms(), list[int]()

    async def start() -> None:
        started.append(1)

    async with trio.open_nursery() as nursery:
        alarm = alarms.set(1, start)
        await trio.sleep(2)  # it is due, and nobody looked yet
        alarms.call_off(alarm)
        nursery.start_soon(alarms.run)
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert started == []
