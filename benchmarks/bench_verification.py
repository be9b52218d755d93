"""What checks cost in executed items, and what two workers in league get past them; in memory, in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import trio
from trio.testing import MockClock

from benchmarks.harness import Row, judge, median
from swarmharness.credit.admission import Policy
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.verification.policy import PROVEN_TASKS
from swarmharness.node.parts import NodeSettings
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

NAME = "verification"
DESCRIPTION = "executed items of adaptive and always against none; wrong answers that a pair in league gets past them"

_SKILL = "think"
_WORKERS = 8
_AT_ONCE = 16
_LATE = 200
_SETTINGS = NodeSettings(admission=Policy(stranger_budget_microcredits=10**15))


def run(quick: bool) -> list[Row]:
    """Measure over seeds; medians."""
    seeds = range(1 if quick else 3)
    items = 4_000 if quick else 10_000
    none, adaptive, always = (
        [_in_virtual_time(_work, verify, items, seed) for seed in seeds] for verify in ("none", "adaptive", "always")
    )
    floor_items, floor_s = (median([each[part] for each in none]) for part in (0, 1))
    rows = []
    for verify, measured, most in (("adaptive", adaptive, 1.1), ("always", always, None)):
        executed, elapsed_s = (median([each[part] for each in measured]) for part in (0, 1))
        what = f"verification.{verify}_after_{PROVEN_TASKS}"
        rows.append(judge(f"{what}.executed", executed, "items", floor=floor_items, ratio_at_most=most))
        rows.append(judge(f"{what}.time", elapsed_s, "s", floor=floor_s))
    for verify in ("adaptive", "always"):
        for league, what in ((True, "pair_in_league"), (False, "two_liars_apart")):
            found = [_in_virtual_time(_attack, verify, 320 if quick else 1_000, league, seed) for seed in seeds]
            wrong, late = (median([each[part] for each in found]) for part in (0, 1))
            rows.append(judge(f"verification.{verify}.{what}.wrong_tasks", 100 * wrong, "%"))
            rows.append(judge(f"verification.{verify}.{what}.share_after_200", 100 * late, "%"))
    return rows


def _in_virtual_time(measure: Callable[..., Awaitable[tuple[float, float]]], *arguments: object) -> tuple[float, float]:
    return trio.run(partial(measure, *arguments), clock=MockClock(autojump_threshold=0))


@dataclass(slots=True)
class _Crew:
    """Workers by number, some of whom lie; node 0 asks and serves nothing."""

    lies: dict[int, bytes] = field(default_factory=dict)
    executed: Counter[int] = field(default_factory=Counter)

    def skills(self, number: int) -> Sequence[MemorySkill]:
        lie = self.lies.get(number, b"")

        def think(item: bytes) -> ItemOutput:
            self.executed[number] += 1
            return ItemOutput(lie + item)

        return (MemorySkill(_SKILL, think, service_us=2_000),)


async def _submit(node: MemoryNode, items: Sequence[bytes], verify: str) -> list[tuple[str, bytes]]:
    options = JobOptions(verify, 2)
    async with node.parts.jobs.open(_SKILL, options=options) as job:
        await job.feed(items, last=True)
        return [(result.peer, result.output) async for result in job.results()]


async def _work(verify: str, count: int, seed: int) -> tuple[float, float]:
    """Return executed items and seconds of a job of `count` items, once every worker has its first valid results."""
    crew = _Crew()
    async with memory_swarm(1 + _WORKERS, serving=_WORKERS, skills=crew.skills, seed=seed, settings=_SETTINGS) as nodes:
        client, workers = nodes[0], nodes[1:]
        standings = client.parts.verification.judging.standings
        model, number = (await client.parts.router.choose(_SKILL, explores=False))[0].skill.model, 0
        while verify != "none" and any(
            standings.get(worker.peer_id, model).valid_in_a_row < PROVEN_TASKS for worker in workers
        ):
            await _submit(client, [f"first {number} {part}".encode() for part in range(256)], verify)
            number += 1
        await client.parts.verification.finish()
        crew.executed.clear()
        start_s = trio.current_time()
        await _submit(client, [f"item {part}".encode() for part in range(count)], verify)
        elapsed_s = trio.current_time() - start_s
        await client.parts.verification.finish()
        return crew.executed.total(), elapsed_s


async def _attack(verify: str, tasks: int, league: bool, seed: int) -> tuple[float, float]:
    """Return the share of wrong answers among single-item tasks, and the liars' share of those after the 200th.

    Many at once, so that work comes to every worker and not to the best of the ranking alone.
    """
    crew = _Crew({1: b"lie 1 ", 2: b"lie 1 " if league else b"lie 2 "})
    async with memory_swarm(1 + _WORKERS, serving=_WORKERS, skills=crew.skills, seed=seed, settings=_SETTINGS) as nodes:
        liars = {nodes[1].peer_id, nodes[2].peer_id}
        wrong = late = 0

        async def ask(number: int) -> None:
            nonlocal wrong, late
            item = f"task {number}".encode()
            ((peer, output),) = await _submit(nodes[0], [item], verify)
            wrong += output != item
            late += number >= _LATE and peer in liars

        for first in range(0, tasks, _AT_ONCE):
            async with trio.open_nursery() as nursery:
                for number in range(first, first + _AT_ONCE):
                    nursery.start_soon(ask, number)
        return wrong / tasks, late / (tasks - _LATE)
