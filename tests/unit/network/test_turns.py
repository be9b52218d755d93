from __future__ import annotations

import pytest
import trio

from swarmharness.network.turns import Turns


async def test_so_many_are_in_at_a_time_and_the_others_follow_in_order() -> None:
    turns, inside, order = Turns(2), 0, list[int]()

    async def visit(number: int) -> None:
        nonlocal inside
        async with turns:
            inside += 1
            assert inside <= 2
            order.append(number)
            await trio.testing.wait_all_tasks_blocked()
            inside -= 1

    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(visit, number)
            await trio.testing.wait_all_tasks_blocked(0)
        assert turns.waiting <= 4
    assert order == sorted(order)


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
