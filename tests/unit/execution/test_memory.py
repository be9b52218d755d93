from __future__ import annotations

import trio
import trio.testing

from swarmharness.execution.memory import MemoryExecutor, MemorySkill, PrioritySlots
from swarmharness.execution.ports import ItemOutput


async def test_who_waits_with_the_smallest_priority_is_next(autojump_clock: trio.testing.MockClock) -> None:
    executor = MemoryExecutor((MemorySkill("echo", ItemOutput, service_us=1_000_000),))
    order: list[str] = []

    async def call(name: str, priority: tuple[int, ...]) -> None:
        await executor.run("echo", (name.encode(),), timeout_s=60, priority=priority)
        order.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call, "running", (9,))
        await trio.sleep(0.1)
        for name, priority in (("stranger", (2, 0)), ("covered", (1, -5)), ("rich", (1, -9)), ("neutral", ())):
            nursery.start_soon(call, name, priority)
            await trio.sleep(0.1)
    assert order == ["running", "neutral", "rich", "covered", "stranger"]


async def test_who_gives_up_takes_no_slot_with_it(autojump_clock: trio.testing.MockClock) -> None:
    slots = PrioritySlots(1)

    async def hold(seconds: float) -> None:
        async with slots.turn(()):
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold, 10)
        await trio.sleep(1)
        with trio.move_on_after(1):
            await hold(1)
        with trio.move_on_after(8):  # ends in the instant in which its turn comes
            await hold(1)
    with trio.fail_after(1):
        await hold(0.5)
