"""Times 2,000 embeddings over two workers: against half the time of one, and, one ten times slower, against one.

The second row is the promise that two devices are never slower than one: the same job, from the same client, with and
without a second worker that has a tenth of the first one's speed. The last rows are what adaptive checks cost between
proven peers: time, and items that workers got.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import trio

from benchmarks.embedding_floor import SKILL, embed, open_model, texts
from benchmarks.harness import Row, interleave_async, judge, median
from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.requester import TaskAnswer, TaskRequester
from swarmharness.jobs.verification.policy import PROVEN_TASKS
from swarmharness.node.client import client_node
from swarmharness.node.config import Config, parse_config
from swarmharness.node.config_schema import Source
from swarmharness.node.data_dir import DataDir
from swarmharness.node.parts import NodeParts
from swarmharness.node.process import NodeGroup, NodeLaunch
from swarmharness.registry.advert import SkillAdvert

NAME = "job"
DESCRIPTION = "2,000 embeddings over two single-threaded worker nodes, --verify none"
WORKER = "version = 1\n\n[execution]\nthreads = 1\n"
SLOW_WORKER = f"{WORKER}cpu_share = 0.1\n"
WORKERS = 2


def run(quick: bool) -> list[Row]:
    """See the harness."""
    count, rounds = (400, 1) if quick else (2000, 5)
    with tempfile.TemporaryDirectory() as base:
        with _workers(Path(base), WORKER) as joins:
            rows = trio.run(_measure, Path(base) / "client", joins, count, rounds)
            rows += trio.run(_measure_checked, Path(base) / "checking", joins, count, rounds)
        with _workers(Path(base) / "uneven", SLOW_WORKER) as joins:
            rows += trio.run(_measure_uneven, Path(base) / "uneven", joins, count, 3 if quick else 7)
    return rows


@contextmanager
def _workers(base: Path, second_config: str) -> Iterator[list[str]]:
    """Run two workers and yield where to join them."""
    with NodeGroup() as group:
        (first,) = group.start(NodeLaunch(base / "worker-0", skills=(SKILL,), config=WORKER))
        launch = NodeLaunch(base / "worker-1", (first.join_address,), (SKILL,), second_config)
        (second,) = group.start(launch)
        yield [first.join_address, second.join_address]


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


async def _measure_checked(data_dir: Path, joins: list[str], count: int, rounds: int) -> list[Row]:
    items = texts(count)
    workers = [PeerId(join.rpartition("/p2p/")[2]) for join in joins]

    async with client_node(DataDir.at(data_dir), Config(), joins) as api:
        parts = api.parts
        await _until_known(parts)
        sent: dict[str, list[int]] = {"none": [], "adaptive": []}

        async def job(verify: str) -> float:
            with _items_sent() as asked:
                start = time.perf_counter()
                async with parts.jobs.open(SKILL, options=JobOptions(verify)) as running:
                    await running.feed(items, last=True)
                    results = [result async for result in running.results()]
                elapsed = time.perf_counter() - start
                assert not any(result.error for result in results)
                await parts.verification.finish()
            await parts.credit.drain()
            sent[verify].append(sum(asked))
            return elapsed

        standings = parts.verification.judging.standings
        model = (await parts.router.choose(SKILL, explores=False))[0].skill.model
        while any(standings.get(worker, model).valid_in_a_row < PROVEN_TASKS for worker in workers):
            await job("adaptive")
        sent["adaptive"].clear()
        none_s, adaptive_s = await interleave_async(partial(job, "none"), partial(job, "adaptive"), rounds=rounds)
    none_items, adaptive_items = (median(sent[verify]) for verify in ("none", "adaptive"))
    what = f"job.{count}_embeddings_with_adaptive_checks"
    return [
        judge(what, adaptive_s, "s", floor=none_s),
        judge(f"{what}.executed", adaptive_items, "items", floor=none_items, ratio_at_most=1.1),
    ]


@contextmanager
def _items_sent() -> Iterator[list[int]]:
    """Yield a list that grows with the items of each task that this process sends, checks and copies included."""
    honest, counts = TaskRequester.run, list[int]()

    async def counting(
        self: TaskRequester,
        peer_id: PeerId,
        skill: SkillAdvert,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        parameters: bytes = b"",
    ) -> TaskAnswer:
        counts.append(len(items))
        return await honest(self, peer_id, skill, items, timeout_s=timeout_s, parameters=parameters)

    TaskRequester.run = counting  # type: ignore[method-assign]
    try:
        yield counts
    finally:
        TaskRequester.run = honest  # type: ignore[method-assign]


async def _measure_uneven(base: Path, joins: list[str], count: int, rounds: int) -> list[Row]:
    _, items = open_model(), texts(count)
    fast = PeerId(joins[0].rpartition("/p2p/")[2])
    alone_config = parse_config(Source("client", f'version = 1\n\n[network]\nallow = ["{fast}"]\n'))

    async with (
        client_node(DataDir.at(base / "alone"), alone_config, joins[:1]) as one,
        client_node(DataDir.at(base / "both"), Config(), joins) as two,
    ):
        await _until_known(one.parts, 1)
        await _until_known(two.parts, 2)
        served: Counter[str] = Counter()

        async def job(parts: NodeParts) -> float:
            start = time.perf_counter()
            async with parts.jobs.open(SKILL, options=JobOptions("none")) as running:
                await running.feed(items, last=True)
                results = [result async for result in running.results()]
            elapsed = time.perf_counter() - start
            assert not any(result.error for result in results)
            served.update(result.peer for result in results if parts is two.parts)
            await parts.credit.drain()
            return elapsed

        async def without() -> float:
            return await job(one.parts)

        async def with_slow() -> float:
            return await job(two.parts)

        await without()
        await with_slow()
        served.clear()
        alone, both = await interleave_async(without, with_slow, rounds=rounds)
    share = 1 - served[fast] / served.total()
    return [
        judge(f"job.{count}_embeddings_with_a_worker_ten_times_slower", both, "s", floor=alone, ratio_at_most=1.03),
        judge("job.share_of_the_slow_worker", share, "of the items"),
    ]


async def _until_known(parts: NodeParts, workers: int = WORKERS) -> None:
    """Wait until the workers have loaded and measured their model."""
    with trio.fail_after(60):
        while True:
            adverts = await parts.registry.candidates(SKILL)
            if sum(skill.service_us > 0 for advert in adverts for skill in advert.skills) >= workers:
                return
            await trio.sleep(0.05)
