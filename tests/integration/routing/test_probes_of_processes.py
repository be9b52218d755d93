"""Real processes: probes flow beside the requests, and `router explain` shows how fresh the known load is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import trio

from swarmharness.execution.items import item_from_text
from swarmharness.execution.skill import Kind
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeProcess
from swarmharness.pytest_plugin import ProcessSwarm

pytestmark = [pytest.mark.processes, pytest.mark.models]

SKILL = "text-embedding"
WORKERS = 3
ASKING = "version = 1\n\n[execution]\nskills = []\n"
FRESH_MS = 20_000
"""Far below the minute after which adverts are fetched again; the machine may do other things."""


def explain(node: NodeProcess) -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "swarmharness", "router", "explain", SKILL, "--json"]
    command += ["--data-dir", str(node.data_dir.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {candidate["peer"]: candidate for candidate in json.loads(done.stdout)["candidates"]}


async def ask(node: NodeProcess, count: int) -> None:
    async with open_control(node.data_dir) as control:
        for number in range(count):
            job = (await control.call("job.open", {"skill": SKILL, "deadline_s": 60.0}))["job"]
            item = item_from_text(Kind.TEXT_EMBEDDING, f"question {number}")
            await control.call("job.feed", {"job": job, "items": [item], "last": True})
            done = False
            while not done:
                done = (await control.call("job.results", {"job": job}))["done"]


async def test_probes_flow_and_the_load_of_every_peer_is_fresh(process_swarm: ProcessSwarm) -> None:
    process_swarm(WORKERS, skills=[SKILL], config="version = 1\n\n[execution]\nthreads = 1\n")
    client = process_swarm(1, config=ASKING)[0]
    async with open_control(client.data_dir) as control:
        with trio.fail_after(60):
            while len((await control.call("router.explain", {"skill": SKILL}))["candidates"]) < WORKERS:
                await trio.sleep(0.05)

    candidates: dict[str, dict[str, Any]] = {}
    with trio.fail_after(120):
        while not any(candidate["queue_source"] == "probe" for candidate in candidates.values()):
            await ask(client, 3)
            candidates = explain(client)

    heard = [candidate for candidate in candidates.values() if candidate["queue_source"] == "probe"]
    assert all(candidate["queue_age_ms"] < FRESH_MS for candidate in heard)
    assert all(candidate["slots"] == 1 for candidate in heard)
