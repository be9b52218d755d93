"""Times 2,000 embeddings over two single-threaded workers against half the time of the best single process."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trio

from benchmarks.embedding_floor import SKILL, embed, open_model, texts
from benchmarks.harness import Row, interleave_async, judge
from swarmharness.node.client import client_node
from swarmharness.node.config import Config
from swarmharness.node.data_dir import DataDir
from swarmharness.node.parts import NodeParts
from swarmharness.node.process import NodeGroup, NodeLaunch

NAME = "job"
DESCRIPTION = "2,000 embeddings over two single-threaded worker nodes"
WORKER = "version = 1\n\n[execution]\nthreads = 1\n"
WORKERS = 2


def run(quick: bool) -> list[Row]:
    """See the harness."""
    with tempfile.TemporaryDirectory() as base, NodeGroup() as group:
        (first,) = group.start(NodeLaunch(Path(base) / "worker-0", skills=(SKILL,), config=WORKER))
        launch = NodeLaunch(Path(base) / "worker-1", (first.join_address,), (SKILL,), WORKER)
        (second,) = group.start(launch)
        joins = [first.join_address, second.join_address]
        return trio.run(_measure, Path(base) / "client", joins, 400 if quick else 2000, 1 if quick else 5)


async def _measure(data_dir: Path, joins: list[str], count: int, rounds: int) -> list[Row]:
    model, items = open_model(), texts(count)

    async with client_node(DataDir.at(data_dir), Config(), joins) as api:
        await _until_known(api.parts)

        async def alone() -> float:
            start = time.perf_counter()
            embed(model, items)
            return time.perf_counter() - start

        async def swarm() -> float:
            start = time.perf_counter()
            async with api.parts.jobs.open(SKILL) as job:
                await job.feed(items, last=True)
                results = [result async for result in job.results()]
            elapsed = time.perf_counter() - start
            assert [result.index for result in results] == list(range(count))
            assert not any(result.error for result in results)
            await api.parts.credit.drain()
            return elapsed

        await swarm()
        single, both = await interleave_async(alone, swarm, rounds=rounds)
    return [judge(f"job.{count}_embeddings_on_two_workers", both, "s", floor=single / WORKERS, ratio_at_most=1.2)]


async def _until_known(parts: NodeParts) -> None:
    """Wait until both workers have loaded and measured their model."""
    with trio.fail_after(60):
        while True:
            adverts = await parts.registry.candidates(SKILL)
            if sum(skill.service_us > 0 for advert in adverts for skill in advert.skills) >= WORKERS:
                return
            await trio.sleep(0.05)
