"""A node records what it routes; the trace is replayed, and a snapshot ranked, by commands that need no node."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.demo.corpus import load_corpus
from swarmharness.execution.items import item_from_text
from swarmharness.execution.skill import Kind
from swarmharness.node.control import open_control
from swarmharness.node.process import SERVES_ANYWHERE, NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm
from swarmharness.routing.policy import policy_toml

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "text-embedding"
ONE_THREAD = "version = 1\n\n[execution]\nthreads = 1\n"
ASKING = "version = 1\n\n[execution]\nskills = []\n"
TRACING = ASKING + '\n[trace]\nfile = "trace.jsonl"\n' + SERVES_ANYWHERE
SINGLES = 120
GAP_S = 0.05
FACTOR = 3.0
"""How far the model may be off on a machine that does other things too; docs/replay.md has what was seen."""


def router(*arguments: str | Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "swarmharness", "router", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


async def submit(node: NodeProcess, items: list[bytes]) -> list[str]:
    """Run one job and return its receipts."""
    async with open_control(node.data_dir) as control:
        job = (await control.call("job.open", {"skill": SKILL, "deadline_s": 60.0}))["job"]
        await control.call("job.feed", {"job": job, "items": items, "last": True})
        receipts: list[str] = []
        done = False
        while not done:
            answer = await control.call("job.results", {"job": job})
            done = answer["done"]
            assert not [result["error"] for result in answer["results"] if result["error"]]
            receipts += [result["receipt"] for result in answer["results"]]
    return receipts


async def wait_until_served(client: NodeProcess, workers: int) -> None:
    async with open_control(client.data_dir) as control:
        with trio.fail_after(60):
            while len((await control.call("router.explain", {"skill": SKILL}))["candidates"]) < workers:
                await trio.sleep(0.05)


async def test_a_trace_of_real_processes_is_replayed_and_the_model_is_near_what_was_recorded(
    process_swarm: ProcessSwarm, tmp_path: Path
) -> None:
    process_swarm(2, skills=[SKILL], config=ONE_THREAD)
    client = process_swarm(1, config=ASKING)[0]
    await wait_until_served(client, 2)
    items = [item_from_text(Kind.TEXT_EMBEDDING, gloss) for _, gloss in load_corpus()[:SINGLES]]
    trace = client.data_dir.path / "trace.jsonl"

    # Recording is switched on while the node runs.
    await submit(client, items[:1])
    assert not trace.exists()
    client.data_dir.config_file.write_text(TRACING)
    with trio.fail_after(30):
        while not trace.exists():
            await submit(client, items[:1])

    receipts: list[str] = []

    async def single(item: bytes) -> None:
        receipts.extend(await submit(client, [item]))

    async with trio.open_nursery() as nursery:
        for item in items:
            nursery.start_soon(single, item)
            await trio.sleep(GAP_S)
    with trio.fail_after(30):
        while trace.read_text().count("\n") < SINGLES:
            await trio.sleep(0.05)
    assert trace.stat().st_mode & 0o777 == 0o600

    told = await trio.to_thread.run_sync(lambda: router("why", receipts[-1], "--data-dir", client.data_dir.path))
    assert told["considered"] == 2
    assert told["terms"]

    policy, other = tmp_path / "policy.toml", tmp_path / "other.toml"
    policy.write_text(f"[routing]\n{policy_toml()}")
    other.write_text(
        '[routing]\nform = "additive"\nadditive_capable_weight = 1\nadditive_load_weight = 1\n'
        "additive_latency_weight = 1\nadditive_trust_weight = 1\n"
    )
    asked = ("replay", trace, "--policy", policy, "--policy", other)
    report = await trio.to_thread.run_sync(lambda: router(*asked))
    assert report == await trio.to_thread.run_sync(lambda: router(*asked)), "a replay is the same every time"
    assert report["tasks"] >= SINGLES
    recorded, model, same, changed = report["results"]
    assert [row["policy"] for row in report["results"]] == ["recorded", "model", str(policy), str(other)]
    assert 1 / FACTOR < model["p50_ms"] / recorded["p50_ms"] < FACTOR
    assert 1 / FACTOR < same["p50_ms"] / recorded["p50_ms"] < FACTOR
    assert same["answered"] == changed["answered"] == report["tasks"]
    assert sum(same["shares"].values()) == pytest.approx(1, abs=1e-4)

    # A snapshot ranks offline as the node itself would have ranked it.
    snapshot = tmp_path / "snapshot.json"
    taken = await trio.to_thread.run_sync(lambda: router("snapshot", SKILL, "--data-dir", client.data_dir.path))
    snapshot.write_text(json.dumps(taken))
    explained = await trio.to_thread.run_sync(lambda: router("explain", SKILL, "--data-dir", client.data_dir.path))
    ranked = router("rank", "--snapshot", snapshot, "--policy", policy)
    assert [row["peer"] for row in ranked["candidates"]] == [row["peer"] for row in explained["candidates"]]
