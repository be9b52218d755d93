"""Why a provider gets no work, on whole nodes with in-memory ports: the requesters tell, the provider says."""

from __future__ import annotations

from dataclasses import replace

import trio
from trio.testing import MockClock

from swarmharness.credit.admission import Policy
from swarmharness.errors import SwarmError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.node.parts import NodeSettings
from swarmharness.node.work import work_of
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

SETTINGS = NodeSettings(policy=RoutingPolicy(explore_share=0))


def skills(number: int) -> list[MemorySkill]:
    return [MemorySkill("echo", ItemOutput, service_us=5_000 if number == 1 else 400_000)]


def work(node: MemoryNode) -> tuple[str, str]:
    account = work_of(node.parts, ())["echo"]
    return account["state"], account["text"]


async def test_a_slow_provider_hears_from_one_request_that_others_are_expected_sooner(
    autojump_clock: MockClock,
) -> None:
    async with memory_swarm(3, serving=2, skills=skills, settings=SETTINGS) as (client, fast, slow):
        assert work(slow)[0] == "nobody asked"
        for _ in range(3):
            await client.map("echo", [b"one"])
            await trio.sleep(61)
        assert work(fast)[0] == "works"
        state, text = work(slow)
        assert state == "time"
        assert text.startswith("1 node asked: others are expected in ")
        assert " ms against 4" in text
        assert client.parts.probes.sent == 0  # a probe for its own sake would be of no use to who asks so seldom


async def test_a_provider_that_refuses_for_lack_of_credit_says_so(autojump_clock: MockClock) -> None:
    mean = replace(SETTINGS, admission=Policy(stranger_budget_microcredits=0))
    async with memory_swarm(2, serving=1, settings=mean) as (client, worker):
        try:
            results = await client.map("echo", [b"one"])
        except SwarmError as error:
            reason = str(error)
        else:
            reason = results[0].error
        assert "micro-credits are missing" in reason
        state, text = work(worker)
        assert state == "refused"
        assert "micro-credits are missing" in text
        assert work_of(worker.parts, ("paused",))["echo"]["state"] == "limits"


async def test_a_provider_without_a_swarm_says_that_nobody_is_connected(autojump_clock: MockClock) -> None:
    async with memory_swarm(1) as (alone,):
        await alone.map("echo", [b"its own"])
        assert work(alone) == ("not reachable", "no other node is connected")


async def test_a_provider_of_another_model_hears_that_jobs_take_another_one(autojump_clock: MockClock) -> None:
    def models(number: int) -> list[MemorySkill]:
        return [MemorySkill("echo", ItemOutput, 5_000 if number == 1 else 400_000, model=f"model {number}")]

    async with memory_swarm(3, serving=2, skills=models, settings=SETTINGS) as (client, _, other):
        await client.map("echo", [b"one"])
        await trio.sleep(1)
        assert work(other) == ("other model", "1 node asked: jobs there take another model of the skill")
