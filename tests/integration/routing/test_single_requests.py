"""Single requests on uneven workers, in virtual time: nobody repeats what is not late."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from swarmharness.credit.admission import Policy
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.context import JobOptions
from swarmharness.node.parts import NodeSettings
from swarmharness.simulation.memory_swarm import memory_swarm

SERVICE_US = (20_000, 40_000, 80_000, 160_000)
PER_SECOND = 50 + 25 + 12.5 + 6.25
REQUESTS = 300
SETTINGS = NodeSettings(admission=Policy(stranger_budget_microcredits=10**15))


@pytest.mark.parametrize("load", [0.5, 0.9])
async def test_second_copies_stay_within_the_budget_of_hedging(
    load: float, autojump_clock: trio.testing.MockClock
) -> None:
    def skills(number: int) -> tuple[MemorySkill, ...]:
        return (MemorySkill("echo", ItemOutput, service_us=SERVICE_US[number - 1]),) if number else ()

    draw, sent, answered = random.Random(1), 0, 0
    workers = len(SERVICE_US)
    async with memory_swarm(1 + workers, serving=workers, skills=skills, settings=SETTINGS) as nodes:
        parts = nodes[0].parts

        def count(_: object) -> None:
            nonlocal sent
            sent += 1

        async def ask() -> None:
            nonlocal answered
            async with parts.jobs.open("echo", options=JobOptions("none")) as job:
                await job.feed([b"x"], last=True)
                (result,) = [result async for result in job.results()]
            answered += not result.error

        parts.router.watch_sends(count)
        async with trio.open_nursery() as nursery:
            for _ in range(REQUESTS):
                nursery.start_soon(ask)
                await trio.sleep(draw.expovariate(PER_SECOND * load))
    assert answered == REQUESTS
    assert sent <= REQUESTS * (1 + parts.router.policy.hedge_share) + 1
