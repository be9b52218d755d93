"""A job that some peer has served waits for a provider and says so; one that nobody has served ends, or may wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.errors import DeadlineError, ErrorKind, UnavailableError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.job import Job
from swarmharness.node.parts import NodeSettings
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

SLOW_ECHO = MemorySkill("echo", ItemOutput, service_us=20_000)
ITEMS = [f"item {number}".encode() for number in range(200)]
AWAY_S = 120.0
"""Far beyond the patience of a job that nobody has served."""


def cut_off(client: MemoryNode, *others: MemoryNode) -> None:
    for other in others:
        client.network.cut(client.peer_id, other.peer_id)


def back(client: MemoryNode, *others: MemoryNode) -> None:
    for other in others:
        client.network.mend(client.peer_id, other.peer_id)


async def until_waiting(job: Job) -> str:
    with trio.fail_after(60):
        while not job.progress.waiting_for:
            await trio.sleep(0.1)
    return job.progress.waiting_for


async def until_done(job: Job, items: int) -> None:
    with trio.fail_after(600):
        while job.progress.items_done < items:
            await trio.sleep(0.01)


async def test_a_job_whose_only_provider_vanishes_waits_for_it_and_goes_on_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as (client, worker):
        async with client.parts.jobs.open("echo") as job:
            await job.feed(ITEMS, last=True)
            await until_done(job, 10)
            assert job.progress.waiting_for == ""
            cut_off(client, worker)
            assert "a node that serves 'echo'" in await until_waiting(job)
            await trio.sleep(AWAY_S)
            assert job.progress.waiting_for
            assert not job.done
            back(client, worker)
            results = [result async for result in job.results()]
            assert job.progress.waiting_for == ""
        assert [result.output for result in results] == ITEMS
        assert {result.error for result in results} == {""}


async def test_the_deadline_ends_the_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as (client, worker):
        settings = replace(client.parts.settings.jobs, deadline_s=100.0)
        async with client.parts.jobs.open("echo", settings) as job:
            await job.feed(ITEMS, last=True)
            await until_done(job, 10)
            cut_off(client, worker)
            results = [result async for result in job.results()]
        assert isinstance(job.failure, DeadlineError)
        assert trio.current_time() >= 100.0
        assert {result.error_kind for result in results} == {None, ErrorKind.DEADLINE}


async def test_a_job_that_nobody_has_served_yet_ends_unless_it_may_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for wait in (False, True):
        async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as (client, worker):
            async with client.parts.jobs.open("echo", options=JobOptions(wait=wait)) as job:
                cut_off(client, worker)
                await job.feed(ITEMS, last=True)
                if wait:
                    await until_waiting(job)
                    await trio.sleep(AWAY_S)
                    back(client, worker)
                results = [result async for result in job.results()]
            expected = None if wait else ErrorKind.UNAVAILABLE
            assert {result.error_kind for result in results} == {expected}


async def test_a_job_that_may_wait_opens_when_somebody_serves_the_skill(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as (client, _):
        with pytest.raises(UnavailableError, match="no node"):
            async with client.parts.jobs.open("other"):
                pass
        settings = replace(client.parts.settings.jobs, deadline_s=30.0)
        began_s = trio.current_time()
        with pytest.raises(UnavailableError, match="no node"):
            async with client.parts.jobs.open("other", settings, options=JobOptions(wait=True)):
                pass
        assert trio.current_time() - began_s >= 30.0
        async with client.parts.jobs.open("echo", options=JobOptions(wait=True)) as job:
            assert job.kind == "memory"


@pytest.mark.parametrize("wait", [False, True])
async def test_the_deadline_counts_from_the_submission_and_looking_for_somebody_is_part_of_it(
    wait: bool, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by `simulate --random 167`: a look-up of 5 s, or all the waiting, came on top of the deadline."""
    async with memory_swarm(2, serving=1, skills=(SLOW_ECHO,)) as (client, worker):
        choose, found_s = client.parts.router.choose, trio.current_time() + 20.0

        async def late(skill: str, items: int = 1, **options: Any) -> Any:
            if trio.current_time() >= found_s:
                return await choose(skill, items, **options)
            if wait:
                raise UnavailableError("no node serves it")
            await trio.sleep(20.0)
            return await choose(skill, items, **options)

        monkeypatch.setattr(client.parts.router, "choose", late)
        began_s = trio.current_time()
        settings = replace(client.parts.settings.jobs, deadline_s=30.0)
        async with client.parts.jobs.open("echo", settings, options=JobOptions(wait=wait)) as job:
            cut_off(client, worker)
            await job.feed(ITEMS, last=True)
            results = [result async for result in job.results()]
        assert {result.error_kind for result in results} <= {ErrorKind.DEADLINE, ErrorKind.UNAVAILABLE}
        assert 20.0 <= trio.current_time() - began_s < 31.0
        settings = replace(settings, deadline_s=5.0)
        found_s = began_s = trio.current_time()
        found_s += 20.0
        with pytest.raises((DeadlineError, UnavailableError), match=r"deadline passed|no node serves it"):
            async with client.parts.jobs.open("echo", settings, options=JobOptions(wait=wait)):
                pass
        assert trio.current_time() - began_s < 6.0


async def test_a_job_whose_answers_are_always_checked_waits_for_a_checker(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(3, serving=2, skills=(SLOW_ECHO,), settings=NodeSettings()) as (client, one, other):
        async with client.parts.jobs.open("echo", options=JobOptions("always", 2)) as job:
            await job.feed(ITEMS, last=True)
            await until_done(job, 10)
            cut_off(client, other)
            with trio.fail_after(120):
                while "a second node" not in job.progress.waiting_for:
                    await trio.sleep(0.1)
            await trio.sleep(AWAY_S)
            back(client, other)
            results = [result async for result in job.results()]
        assert [result.output for result in results] == ITEMS
        assert {one.peer_id, other.peer_id} >= {result.peer for result in results}
