"""Open-loop load: independent clients whose requests come at random times, whether or not earlier ones are answered.

A group's requests are one Poisson process, thinned: each arrival belongs to a member drawn by chance, and is dropped if
that member is away. That is the same law as one process for each member.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.service import ItemResult, JobSettings
from swarmharness.node.parts import NodeParts
from swarmharness.simulation.checks import Watched
from swarmharness.simulation.execution import right_answer
from swarmharness.simulation.node import SimulatedNode
from swarmharness.simulation.single_task import ask
from swarmharness.simulation.swarm import Swarm
from swarmharness.simulation.trace import Event


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of one request."""

    group: str
    at_us: int
    latency_us: int
    answered: bool
    """Every item has an output, in time."""
    right: bool
    """And every output is what an honest node answers."""
    failure: str
    node: int


@dataclass(slots=True)
class Load:
    """Makes the requests of all groups, and keeps what became of them."""

    swarm: Swarm
    outcomes: list[Answered] = field(default_factory=list)
    requests: int = 0
    """How many were made; those that fell to a member that was away are not."""
    probes: dict[tuple[int, int], int] = field(default_factory=dict)
    """Probes of load that a requester's session sent."""
    hedges: dict[tuple[int, int], int] = field(default_factory=dict)
    """Second copies that it sent."""
    surge_percent: dict[str, int] = field(default_factory=dict)
    """By group: how much of the usual load comes now."""

    async def run(self, nursery: trio.Nursery, until_us: int) -> None:
        """Start every group's arrivals."""
        for name, group in self.swarm.scenario.nodes.items():
            if group.requests_per_hour and group.count:
                nursery.start_soon(self._arrive, name, nursery, until_us)

    async def _arrive(self, name: str, nursery: trio.Nursery, until_us: int) -> None:
        swarm = self.swarm
        group = swarm.scenario.nodes[name]
        randomness = swarm.draw(f"load/{name}")
        members = [node for node in swarm.nodes if node.group_name == name]
        skills = (group.skill,) if group.skill else tuple(swarm.scenario.skills)
        mean_us = round(3_600_000_000 / (group.requests_per_hour * group.count))
        await swarm.sleep(group.starts_s)
        while True:
            percent = self.surge_percent.get(name, 100)
            await swarm.sleep(max(1, randomness.exponential(mean_us * 100 // max(1, percent))) / 1e6)
            if swarm.now_us() >= until_us:
                return
            node = members[randomness.below(len(members))]
            if node.parts is None:
                continue
            skill = skills[self.requests % len(skills)]
            size = swarm.scenario.skills[skill].item_bytes
            self.requests += 1
            items = [self.requests.to_bytes(8, "big") + item.to_bytes(4, "big") for item in range(group.items)]
            padded = [item.ljust(size, b"\x00") for item in items]
            nursery.start_soon(self._request, self.requests, node, node.parts, skill, padded)

    async def _job(self, node: SimulatedNode, parts: NodeParts, skill: str, items: list[bytes]) -> list[ItemResult]:
        swarm, group = self.swarm, node.group
        settings = JobSettings(
            deadline_s=group.deadline_s,
            task_timeout_s=swarm.scenario.node.task_timeout_s,
            patience_s=min(15.0, group.deadline_s),
        )
        options = JobOptions(swarm.scenario.node.verify, swarm.scenario.node.replicas)
        async with parts.jobs.open(skill, settings, options=options) as job:
            await job.feed(items, last=True)
            return [result async for result in job.results()]

    async def _request(
        self, number: int, node: SimulatedNode, parts: NodeParts, skill: str, items: list[bytes]
    ) -> None:
        swarm, group = self.swarm, node.group
        started_us = swarm.now_us()
        swarm.trace.note(Event.REQUEST, started_us, number, node.index, len(items))
        node.asked[skill] += 1
        watched = Watched(number, node, node.session, len(items))
        swarm.checks.watch(watched, group.deadline_s)
        results: list[ItemResult] = []
        failure = ""
        try:
            if group.attempts:
                results = await ask(
                    parts, skill, items, deadline_s=group.deadline_s, attempts=group.attempts, pays=group.pays
                )
            else:
                results = await self._job(node, parts, skill, items)
        except* SwarmError as errors:
            failure = type(_first(errors)).__name__
        if results:
            unnamed = sum(not result.output and not result.error for result in results)
            swarm.checks.ended(watched, [result.index for result in results], unnamed)
        watched.ended = watched.ended or bool(failure)
        latency_us = swarm.now_us() - started_us
        answered = bool(results) and all(not result.error for result in results)
        output_bytes = swarm.scenario.skills[skill].output_bytes
        right = answered and all(
            result.output == right_answer(skill, items[result.index], output_bytes) for result in results
        )
        worker = swarm.by_peer.get(PeerId(results[0].peer)) if answered else None
        failed = next((result.error_kind for result in results if result.error_kind is not None), None)
        reason = failure or (failed.name.lower() if failed is not None else "")
        swarm.trace.note(
            Event.ANSWER,
            swarm.now_us(),
            number,
            latency_us if answered else -1,
            sum(not result.error for result in results),
            worker.index if worker is not None else -1,
        )
        self.probes[node.index, node.session] = parts.probes.sent
        self.hedges[node.index, node.session] = parts.hedges.sent
        if node.parts is parts:  # else the requester is gone, and nobody waits for the answer
            index = worker.index if worker is not None else -1
            self.outcomes.append(Answered(node.group_name, started_us, latency_us, answered, right, reason, index))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
