"""Two devices are never slower than one: a worker ten times slower joins, and the job takes no longer."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.context import JobOptions
from swarmharness.simulation.memory_swarm import memory_swarm

FAST_US, SLOW_US = 5_000, 50_000
RATIO_MOST = 1.03


async def job_s(workers: tuple[int, ...], items: int) -> float:
    """Return how long a job takes with workers of these service times, once they are known."""

    def skills(number: int) -> tuple[MemorySkill, ...]:
        return (MemorySkill("echo", ItemOutput, service_us=workers[number - 1]),) if number else ()

    async with memory_swarm(len(workers) + 1, serving=len(workers), skills=skills) as nodes:
        jobs = nodes[0].parts.jobs
        for count in (8, items):
            started_s = trio.current_time()
            async with jobs.open("echo", options=JobOptions("none")) as job:
                await job.feed([number.to_bytes(4, "big") for number in range(count)], last=True)
                assert len([result async for result in job.results() if not result.error]) == count
            took_s = trio.current_time() - started_s
        return took_s


@pytest.mark.parametrize("items", [1, 5, 40, 2_000])
async def test_a_worker_ten_times_slower_makes_no_job_slower(
    items: int, autojump_clock: trio.testing.MockClock
) -> None:
    alone_s = await job_s((FAST_US,), items)
    both_s = await job_s((FAST_US, SLOW_US), items)
    assert both_s <= RATIO_MOST * alone_s
