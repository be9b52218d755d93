"""Times one embedding through the swarm, signed receipt included, against the same model called in this process."""

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

NAME = "embedding"
DESCRIPTION = "(--verify none) one embedding: client process, router, worker process, co-signed receipt"
WORKER = "version = 1\n\n[execution]\nthreads = 1\n"


def run(quick: bool) -> list[Row]:
    """See the harness."""
    with tempfile.TemporaryDirectory() as base, NodeGroup() as group:
        (worker,) = group.start(NodeLaunch(Path(base) / "worker", skills=(SKILL,), config=WORKER))
        return trio.run(_measure, Path(base) / "client", worker.join_address, 40 if quick else 300)


async def _measure(data_dir: Path, join: str, rounds: int) -> list[Row]:
    model, items = open_model(), texts(64)
    async with client_node(DataDir.at(data_dir), Config(), [join]) as api:
        parts = api.parts
        turn = 0

        def next_item() -> bytes:
            nonlocal turn
            turn += 1
            return items[turn % len(items)]

        async def direct() -> float:
            item, start = next_item(), time.perf_counter()
            embed(model, [item])
            return time.perf_counter() - start

        async def answered() -> float:
            item, start = next_item(), time.perf_counter()
            await _submit(parts, item)
            elapsed = time.perf_counter() - start
            await parts.credit.drain()
            return elapsed

        async def settled() -> float:
            item, start = next_item(), time.perf_counter()
            await _submit(parts, item)
            await parts.credit.drain()
            return time.perf_counter() - start

        for _ in range(20):
            await direct()
            await settled()
        floor, answer, receipt = await interleave_async(direct, answered, settled, rounds=rounds)
    return [
        judge("embedding.answer_p50", answer * 1e3, "ms", floor=floor * 1e3, ratio_at_most=1.6),
        judge("embedding.receipt_stored_by_both_p50", receipt * 1e3, "ms", floor=floor * 1e3, ratio_at_most=1.8),
    ]


async def _submit(parts: NodeParts, item: bytes) -> None:
    async with parts.jobs.open(SKILL) as job:
        await job.feed([item], last=True)
        async for result in job.results():
            assert not result.error, result.error
