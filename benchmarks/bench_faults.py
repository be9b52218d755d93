"""Times a job on eight workers against the same with three killed and one frozen in its midst: real processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio

from benchmarks.faulty_swarm import FROZEN, KILLED, WORKERS, FaultySwarm, drawn_faults
from benchmarks.harness import Row, judge, median
from swarmharness.execution.items import shorten_file
from swarmharness.node.process import NodeGroup

NAME = "faults"
DESCRIPTION = f"5,000 file types on {WORKERS} workers, of which {KILLED} are killed and {FROZEN} is frozen meanwhile"
SKILL = "file-type"
RATIO_MOST = 1.5

_SAMPLES = (
    b'#!/bin/sh\nset -e\nfor f in *.txt; do echo "$f %d"; done\n',
    b"import os\n\ndef main() -> None:\n    print(os.getcwd(), %d)\n\nmain()\n",
    b"<html><head><title>%d</title></head><body><p>text</p></body></html>\n",
    b'{"name": "item", "number": %d, "list": [1, 2, 3]}\n',
)


def run(quick: bool) -> list[Row]:
    """See the harness. Every round has other victims, at other moments, drawn with its number."""
    count, rounds = (1_000, 1) if quick else (5_000, 3)
    with tempfile.TemporaryDirectory() as base, NodeGroup() as group:
        return trio.run(_measure, FaultySwarm(Path(base), group, SKILL), count, rounds)


async def _measure(swarm: FaultySwarm, count: int, rounds: int) -> list[Row]:
    items = [shorten_file(_SAMPLES[number % len(_SAMPLES)] % number) for number in range(count)]
    await swarm.ready()
    await swarm.submit(items)  # every worker has opened its model and is known

    async def timed(seed: int | None) -> float:
        faults = [] if seed is None else drawn_faults(count, seed)
        done = await swarm.submit(items, faults)
        assert [result["index"] for result in done.results] == list(range(count))
        assert {result["error"] for result in done.results} == {""}
        assert len(done.faults_at) == len(faults)
        if faults:
            await swarm.repair()
            await swarm.submit(items[: count // 5])  # those that came back have opened their models
        return done.elapsed_s

    whole: list[float] = []
    faulty: list[float] = []
    for seed in range(rounds):
        whole.append(await timed(None))
        faulty.append(await timed(seed))
    return [
        judge(f"faults.{count}_items", median(whole), "s"),
        judge(
            f"faults.{count}_items_while_half_fail", median(faulty), "s", floor=median(whole), ratio_at_most=RATIO_MOST
        ),
        judge(f"faults.{count}_items_while_half_fail.worst", max(faulty), "s", floor=median(whole)),
    ]
