"""Workers that answer late, twice or for another task: the job goes on with others, and pays each item once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.context import JobContext, JobOptions
from swarmharness.jobs.job import Job
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.jobs.messages import Commitment, Reveal
from swarmharness.jobs.service import ItemResult
from swarmharness.network.ports import Request
from swarmharness.protocol.codec import decode, encode
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm
from tests.unit.jobs.test_durable_jobs import service_of

SKILL = MemorySkill("echo", ItemOutput, service_us=20_000)
ITEMS = [f"item {number}".encode() for number in range(60)]
UNCHECKED = JobOptions("none")

Answering = Callable[[Request], Awaitable[bytes]]


def tamper(node: MemoryNode, method: str, change: Callable[[Answering, Request], Awaitable[bytes]]) -> list[int]:
    """Let a worker answer a method otherwise; returns a list that grows with each such answer."""
    transport = node.parts.ports.transport
    honest: Answering = transport._handlers[method]  # type: ignore[attr-defined]
    answers: list[int] = []

    async def strange(request: Request) -> bytes:
        answer = await change(honest, request)
        answers.append(len(answer))
        return answer

    transport._handlers[method] = strange  # type: ignore[attr-defined]
    return answers


@asynccontextmanager
async def swarm() -> AsyncIterator[tuple[MemoryNode, MemoryNode, MemoryNode]]:
    async with memory_swarm(3, serving=2, skills=(SKILL,)) as (client, honest, strange):
        yield client, honest, strange


async def run(client: MemoryNode, *, task_timeout_s: float = 60.0) -> list[ItemResult]:
    settings = replace(client.parts.settings.jobs, task_timeout_s=task_timeout_s)
    job: Job
    async with client.parts.jobs.open("echo", settings, options=UNCHECKED) as job:
        await job.feed(ITEMS, last=True)
        return [result async for result in job.results()]


async def assert_paid_once(client: MemoryNode, results: list[ItemResult]) -> None:
    await client.parts.credit.drain()
    entries = await client.parts.credit.history(1000)
    assert sum(entry.entry.body.items for entry in entries) == len(results)
    tasks = {task.hex() for entry in entries for task in entry.entry.body.tasks}
    assert tasks == {result.receipt for result in results}


def assert_all_by(results: list[ItemResult], peer: PeerId) -> None:
    assert [result.output for result in results] == ITEMS
    assert {result.peer for result in results} == {peer}


@pytest.mark.parametrize("method", ["task.run", "task.reveal"])
async def test_an_answer_after_the_deadline_counts_nothing(autojump_clock: trio.testing.MockClock, method: str) -> None:
    async def late(honest: Answering, request: Request) -> bytes:
        answer = await honest(request)
        with trio.CancelScope(shield=True):  # it does not stop when it is told to
            await trio.sleep(30)
        return answer

    async with swarm() as (client, honest, strange):
        answers = tamper(strange, method, late)
        results = await run(client, task_timeout_s=5.0)
        await trio.sleep(60)
        assert answers, "it answered, after all"
        assert_all_by(results, honest.peer_id)
        await assert_paid_once(client, results)


async def test_an_answer_for_another_task_is_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    async def swapped(honest: Answering, request: Request) -> bytes:
        commitment = decode(Commitment, await honest(request))
        return encode(replace(commitment, task_id=bytes(16)))

    async with swarm() as (client, honest, strange):
        assert tamper(strange, "task.run", swapped) == []
        results = await run(client)
        assert_all_by(results, honest.peer_id)
        await assert_paid_once(client, results)
        rows = {row["peer"]: row for row in client.parts.router.peers()}
        assert rows[strange.peer_id]["skills"][0]["trust"] < 0.5


async def test_an_answer_given_for_an_earlier_task_again_is_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    first: list[bytes] = []

    async def repeated(honest: Answering, request: Request) -> bytes:
        first.append(await honest(request))
        return first[0]

    async with swarm() as (client, _, strange):
        answers = tamper(strange, "task.reveal", repeated)
        results = await run(client)
        assert len(answers) > 1
        assert [result.output for result in results] == ITEMS
        assert sum(result.peer == strange.peer_id for result in results) <= 16, "its first answer was right"
        await assert_paid_once(client, results)


async def test_an_answer_with_too_few_items_is_no_answer(autojump_clock: trio.testing.MockClock) -> None:
    async def short(honest: Answering, request: Request) -> bytes:
        reveal = decode(Reveal, await honest(request))
        return encode(replace(reveal, outputs=reveal.outputs[:1]))

    async with swarm() as (client, _, strange):
        tamper(strange, "task.reveal", short)
        results = await run(client)
        assert [result.output for result in results] == ITEMS
        await assert_paid_once(client, results)


async def test_two_answers_for_the_same_items_count_and_cost_once(autojump_clock: trio.testing.MockClock) -> None:
    """The slow worker's chunk is taken over, and its answer comes all the same."""
    released = trio.Event()
    late: list[int] = []

    def stubborn(runner: TaskRunner, context: JobContext) -> TaskRunner:
        class Stubborn:
            async def run(self, peer_id, skill, items, *, timeout_s):  # type: ignore[no-untyped-def]
                with trio.CancelScope(shield=peer_id == strange.peer_id):
                    answer = await runner.run(peer_id, skill, items, timeout_s=timeout_s)
                    if peer_id == strange.peer_id:
                        await released.wait()
                        late.append(len(answer.outputs))
                    return answer

        return Stubborn()

    async with swarm() as (client, honest, strange):
        service = service_of(client, MemoryJournal(), layers=stubborn)
        async with service.open("echo", options=UNCHECKED, job_id="j") as job:
            await job.feed(ITEMS, last=True)
            results = [result async for result in job.results()]
            released.set()
        assert late
        assert_all_by(results, honest.peer_id)
        assert job.progress.spent_microcredits == SKILL.work_microcredits * len(ITEMS)
        await assert_paid_once(client, results)
