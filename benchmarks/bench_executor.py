"""Times embeddings through the executor's worker process against the same model called in this process."""

from __future__ import annotations

import time
from pathlib import Path

import trio

from benchmarks.embedding_floor import SKILL, embed, open_model, texts
from benchmarks.harness import Row, interleave_async, judge
from swarmharness.execution.catalog import find_skills
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.node.data_dir import cache_dir

NAME = "executor"
DESCRIPTION = "embeddings through a worker process, alone and from 64 callers at once"
SENTENCE = b"A node that nobody uses tonight lends its time to a neighbour who searches some old letters."
CALLERS = 64
TIMEOUT_S = 120.0


def run(quick: bool) -> list[Row]:
    """See the harness."""
    return trio.run(_measure, 40 if quick else 300, 2 if quick else 10)


async def _measure(single_rounds: int, batch_rounds: int) -> list[Row]:
    model, items = open_model(), texts(CALLERS)
    skill = find_skills(Path()).get(SKILL)
    async with ProcessExecutor([skill], ModelStore(cache_dir() / "models"), ExecutorSettings(threads=1)) as executor:
        await executor.load(SKILL)

        async def direct() -> float:
            start = time.perf_counter()
            embed(model, [SENTENCE])
            return time.perf_counter() - start

        async def process() -> float:
            start = time.perf_counter()
            await executor.run(SKILL, (SENTENCE,), timeout_s=TIMEOUT_S)
            return time.perf_counter() - start

        async def overhead() -> float:
            start = time.perf_counter()
            execution = await executor.run(SKILL, (SENTENCE,), timeout_s=TIMEOUT_S)
            return time.perf_counter() - start - execution.service_us / 1e6

        async def direct_batch() -> float:
            start = time.perf_counter()
            embed(model, items)
            return time.perf_counter() - start

        async def one(item: bytes) -> None:
            await executor.run(SKILL, (item,), timeout_s=TIMEOUT_S)

        async def callers() -> float:
            start = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for item in items:
                    nursery.start_soon(one, item)
            return time.perf_counter() - start

        floor_s, one_s, overhead_s = await interleave_async(direct, process, overhead, rounds=single_rounds)
        batch_floor_s, callers_s = await interleave_async(direct_batch, callers, rounds=batch_rounds)
    return [
        judge("executor.one_embedding_p50", one_s * 1e3, "ms", floor=floor_s * 1e3),
        judge("executor.one_embedding_overhead", overhead_s * 1e3, "ms", at_most=0.5),
        judge(f"executor.{CALLERS}_callers", callers_s * 1e3, "ms", floor=batch_floor_s * 1e3),
    ]
