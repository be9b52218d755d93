from __future__ import annotations

import pytest
import trio
import trio.testing

from swarmharness.credit.receipt import receipt_problem
from swarmharness.errors import ErrorKind, InputError, UnavailableError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.simulation.memory_swarm import ECHO, memory_swarm

SLOW_ECHO = MemorySkill("echo", ItemOutput, service_us=20_000)
ITEMS = [f"item {number}".encode() for number in range(200)]


async def test_results_come_in_input_order_from_several_peers(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(4, serving=3, skills=(SLOW_ECHO,)) as nodes:
        results = await nodes[0].map("echo", ITEMS)
        assert [result.output for result in results] == ITEMS
        assert [result.index for result in results] == list(range(len(ITEMS)))
        assert len({result.peer for result in results}) == 3


async def test_a_single_item_goes_to_a_single_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(4, serving=3) as nodes:
        (result,) = await nodes[0].map("echo", [b"one"])
        assert (result.output, result.error) == (b"one", "")
        await nodes[0].parts.credit.drain()
        served = [node for node in nodes[1:] if (await node.parts.credit.balance()).earned_microcredits]
        assert [node.peer_id for node in served] == [result.peer]


async def test_every_task_ends_in_one_receipt_that_both_parties_hold(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1) as nodes:
        client, worker = nodes
        results = await client.map("echo", ITEMS)
        await client.parts.credit.drain()
        spent = await client.parts.credit.history(100)
        earned = await worker.parts.credit.history(100)
        for entries in (spent, earned):
            tasks = [task for entry in entries for task in entry.as_dict()["tasks"]]
            assert sorted(tasks) == sorted({result.receipt for result in results})
        for entry in spent:
            assert entry.entry.receipt is not None
            assert receipt_problem(entry.entry.receipt) is None
        total = sum(entry.entry.body.share_microcredits for entry in spent)
        assert total == ECHO.work_microcredits * len(ITEMS)
        assert sum(entry.entry.body.items for entry in spent) == len(ITEMS)


async def test_a_peer_that_dies_in_the_middle_loses_its_items_to_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(4, serving=3, skills=(SLOW_ECHO,)) as nodes:
        async with trio.open_nursery() as nursery:

            async def kill_soon() -> None:
                await trio.sleep(0.5)
                nodes[2].kill()

            nursery.start_soon(kill_soon)
            results = await nodes[0].map("echo", ITEMS)
        assert [result.output for result in results] == ITEMS
        assert not any(result.error for result in results)


async def test_an_item_that_cannot_be_processed_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    def picky(item: bytes) -> ItemOutput:
        return ItemOutput(b"", "this item is odd") if item == b"item 7" else ItemOutput(item)

    async with memory_swarm(2, serving=1, skills=(MemorySkill("picky", picky),)) as nodes:
        results = await nodes[0].map("picky", ITEMS[:20])
        assert [(result.index, result.error_kind) for result in results if result.error] == [(7, ErrorKind.INPUT)]
        assert results[7].error == "this item is odd"


async def test_a_skill_that_nobody_serves_is_refused_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1) as nodes:
        with pytest.raises(UnavailableError, match="echo"):
            async with nodes[0].parts.jobs.open("ecco"):
                pass


async def test_no_answer_before_the_deadline_names_every_item(autojump_clock: trio.testing.MockClock) -> None:
    from dataclasses import replace

    stuck = MemorySkill("stuck", ItemOutput, service_us=10**9)
    async with memory_swarm(2, serving=1, skills=(stuck,)) as nodes:
        settings = replace(nodes[0].parts.settings.jobs, deadline_s=3.0)
        async with nodes[0].parts.jobs.open("stuck", settings) as job:
            await job.feed([b"a", b"b"], last=True)
            results = [result async for result in job.results()]
        assert [result.error_kind for result in results] == [ErrorKind.DEADLINE] * 2
        assert "3 s" in results[0].error


async def test_input_after_the_end_of_the_input_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1) as nodes, nodes[0].parts.jobs.open("echo") as job:
        await job.feed([b"a"], last=True)
        with pytest.raises(InputError):
            await job.feed([b"b"], last=True)


async def test_a_node_works_for_itself_without_a_receipt(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(1) as nodes:
        results = await nodes[0].map("echo", ITEMS[:5])
        assert [result.output for result in results] == ITEMS[:5]
        assert {(result.peer, result.receipt) for result in results} == {(nodes[0].peer_id, "")}
        assert await nodes[0].parts.credit.history(10) == ()
