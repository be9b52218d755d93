from __future__ import annotations

import trio
import trio.testing

from swarmharness.network.fair_turns import FairTurns


class Clock:
    """Processor time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def busy() -> FairTurns:
    """Return turns of which none is left without waiting."""
    turns = FairTurns(0.001, Clock())
    for _ in range(8):
        await turns.take("first", known=False)
    return turns


async def test_nobody_waits_while_there_is_time() -> None:
    clock = Clock()
    turns = FairTurns(0.001, clock)
    for _ in range(100):
        with trio.fail_after(1):
            await turns.take("one", known=False)
        clock.now_s += 0.002


async def test_networks_take_turns_however_many_wait_in_one() -> None:
    turns = await busy()
    order: list[str] = []

    async def wait(group: str) -> None:
        await turns.take(group, known=False)
        order.append(group)

    async with trio.open_nursery() as nursery:
        for group in ["crowd"] * 20 + ["honest"] * 2:
            nursery.start_soon(wait, group)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(turns.run)
        while len(order) < 22:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert sorted(order[:4]) == ["crowd", "crowd", "honest", "honest"]
    assert turns.waiting == 0


async def test_known_peers_have_every_other_turn() -> None:
    turns = await busy()
    order: list[bool] = []

    async def wait(group: str, known: bool) -> None:
        await turns.take(group, known=known)
        order.append(known)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(wait, f"network {number}", False)
        for _ in range(5):
            nursery.start_soon(wait, "friend", True)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(turns.run)
        while len(order) < 15:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert order[:10].count(True) == 5


async def test_one_turn_is_granted_at_each_pass() -> None:
    turns = await busy()
    passes = 0
    granted: list[int] = []

    async def wait() -> None:
        await turns.take("one", known=False)
        granted.append(passes)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(turns.run)
        while len(granted) < 5:
            passes += 1
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert granted[-1] - granted[0] >= 3  # of two tasks of one pass, either may run first


async def test_who_gives_up_waiting_takes_nobodys_turn() -> None:
    turns = await busy()
    order: list[int] = []

    async def wait(number: int, scope: trio.CancelScope) -> None:
        with scope:
            await turns.take("one", known=False)
            order.append(number)

    async with trio.open_nursery() as nursery:
        scopes = [trio.CancelScope() for _ in range(4)]
        for number, scope in enumerate(scopes):
            nursery.start_soon(wait, number, scope)
        await trio.testing.wait_all_tasks_blocked()
        scopes[1].cancel()
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(turns.run)
        while len(order) < 3:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert sorted(order) == [0, 2, 3]
    assert turns.waiting == 0
