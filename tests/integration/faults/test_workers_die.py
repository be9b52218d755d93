"""Of eight workers, real processes, three are killed and one is frozen during a job: nothing is lost or paid twice."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio
from benchmarks.faulty_swarm import FROZEN, KILLED, FaultySwarm, JobRun, drawn_faults

from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.kinds.text_embedding import TextEmbedding
from swarmharness.node.process import NodeGroup
from tests.integration.jobs.tiny_skill import NAME, PRICE_MICROCREDITS, tiny_skill

pytestmark = [pytest.mark.processes]

ITEMS = 5_000
SLOW = "cpu_share = 0.05\n"
TEXTS = [f"w{number % 500} w{number * 7 % 500} w{number // 500}".encode() for number in range(ITEMS)]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data directory in which the skill is installed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for words in (["add", str(tiny_skill(tmp_path / NAME, batch_items=16))], ["pull", NAME]):
        command = [sys.executable, "-m", "swarmharness", "skills", *words, "--data-dir", str(tmp_path / "installed")]
        subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "installed"


async def paid(swarm: FaultySwarm) -> list[dict[str, Any]]:
    """Return what the client has paid or owes, once all that can be signed is: the dead and the frozen sign nothing."""
    alive = {node.peer_id for node in swarm.survivors}
    with trio.fail_after(90):
        while True:
            history = await swarm.call(swarm.client, "credit.history", limit=10_000)
            entries: list[dict[str, Any]] = history["entries"]
            settled = all(entry["state"] == "receipt" for entry in entries if entry["peer_id"] in alive)
            if settled and sum(entry["items"] for entry in entries) >= ITEMS:
                return entries
            await trio.sleep(0.1)


def assert_every_item_is_answered_once_and_right(run: JobRun, folder: Path) -> None:
    files = {name: folder / name for name in ("model.onnx", "tokenizer.json")}
    reference = TextEmbedding(files, SessionFactory(threads=1)).run(TEXTS, {})
    assert run.state == "done"
    assert [result["index"] for result in run.results] == list(range(ITEMS))
    assert not any(result["error"] for result in run.results)
    assert [result["output"] for result in run.results] == [output.data for output in reference]


def assert_every_item_is_paid_once(run: JobRun, entries: list[dict[str, Any]]) -> None:
    items_of = Counter(result["receipt"] for result in run.results)
    peer_of = {result["receipt"]: result["peer"] for result in run.results}
    tasks = [task for entry in entries for task in entry["tasks"]]
    assert len(tasks) == len(set(tasks)), "no task is in two receipts"
    assert set(tasks) == set(items_of), "what is paid is what was handed out, and nothing else"
    for entry in entries:
        assert {peer_of[task] for task in entry["tasks"]} == {entry["peer_id"]}
        assert entry["items"] == sum(items_of[task] for task in entry["tasks"])
        assert entry["share_microcredits"] == entry["items"] * PRICE_MICROCREDITS


@pytest.mark.parametrize("seed", [1, 2])
def test_every_item_is_answered_once_right_and_paid_once_though_half_of_the_workers_fail(
    tmp_path: Path, installed: Path, seed: int
) -> None:
    def prepare(folder: Path) -> None:
        shutil.copytree(installed, folder)

    faults = drawn_faults(ITEMS, seed)
    with NodeGroup() as group:
        swarm = FaultySwarm(tmp_path, group, NAME, SLOW, prepare=prepare)

        async def job() -> tuple[JobRun, list[dict[str, Any]]]:
            await swarm.ready()
            run = await swarm.submit(TEXTS, faults)
            return run, await paid(swarm)

        run, entries = trio.run(job)
    assert len(run.faults_at) == KILLED + FROZEN
    assert max(run.faults_at) < ITEMS, "they fell while there was work left"
    assert_every_item_is_answered_once_and_right(run, tmp_path / NAME)
    assert_every_item_is_paid_once(run, entries)
    assert len({result["peer"] for result in run.results}) > KILLED + FROZEN
