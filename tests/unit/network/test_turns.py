from __future__ import annotations

import pytest
import trio
import trio.testing

from swarmharness.network.turns import Turns


async def test_so_many_are_in_at_a_time_and_the_others_follow_in_order() -> None:
    turns, entered, leave = Turns(2), list[int](), trio.Event()

    async def visit(number: int) -> None:
        async with turns:
            entered.append(number)
            await leave.wait()

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked()
        assert (entered, turns.waiting) == ([0, 1], 4)
        leave.set()
    assert entered[2:4] in ([2, 3], [3, 2]), "both places were free at once, and trio begins tasks in any order"
    assert sorted(entered[4:]) == [4, 5]


async def test_while_there_is_room_no_other_task_runs() -> None:
    turns, ran = Turns(), False

    async def other() -> None:
        nonlocal ran
        ran = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        async with turns:
            assert not ran


async def test_whoever_fails_inside_lets_the_next_one_in() -> None:
    turns = Turns()
    with pytest.raises(RuntimeError):
        async with turns:
            raise RuntimeError
    async with turns:
        assert turns.waiting == 0


async def test_whoever_gives_up_waiting_is_passed_over() -> None:
    turns, entered = Turns(), list[str]()

    async def visit(name: str, scope: trio.CancelScope) -> None:
        with scope:
            async with turns:
                entered.append(name)

    impatient = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        async with turns:
            nursery.start_soon(visit, "impatient", impatient)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(visit, "patient", trio.CancelScope())
            await trio.testing.wait_all_tasks_blocked()
            impatient.cancel()
    assert (entered, turns.waiting) == (["patient"], 0)
    async with turns:
        entered.append("later")
