"""Real processes, killed with SIGKILL at seeded moments: the job is resumed, and nothing is lost or paid twice."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarmharness.jobs.journal import JobRecord, JobState
from swarmharness.jobs.sqlite_journal import read_jobs
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from tests.integration.jobs.tiny_skill import NAME, PRICE_MICROCREDITS, tiny_skill

pytestmark = [pytest.mark.processes]

ITEMS = 1600
ASKING = "version = 1\n\n[execution]\nskills = []\n\n[jobs]\nchunk_target_ms = 50\n"
WORKING = "version = 1\n\n[execution]\nthreads = 1\ncpu_share = 0.1\n"


@dataclass
class Place:
    """A worker, and a data directory from which jobs are submitted."""

    base: Path
    group: NodeGroup
    worker: NodeProcess
    client: NodeProcess | None = None

    @property
    def data_dir(self) -> Path:
        return self.base / "client"

    @property
    def inputs(self) -> Path:
        return self.base / "in.txt"

    def start_client(self) -> NodeProcess:
        (self.client,) = self.group.start(NodeLaunch(self.data_dir, (self.worker.join_address,), config=ASKING))
        return self.client

    def spawn(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_command(*arguments), "--data-dir", str(self.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [*_command(*arguments), "--data-dir", str(self.data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == status, done.stderr
        return done

    def job(self) -> JobRecord:
        """The newest job, as its journal has it."""
        return read_jobs(self.data_dir / "jobs.sqlite", 1)[0]

    def until_answered(self, count: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until so many items of the newest job are answered, or all."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                record = self.job()
            except Exception:  # not there yet
                record = None
            if record is not None and record.items_answered >= count:
                return
            assert process.poll() is None, "the command ended early"
            time.sleep(0.01)
        raise AssertionError(f"{count} items were not answered in time")

    def settled(self) -> list[dict[str, Any]]:
        """What was paid, once every receipt has both signatures."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            lines = self.run("credit", "history", "--limit", "10000", "--json").stdout.splitlines()
            entries = [json.loads(line) for line in lines]
            if all(entry["state"] == "receipt" for entry in entries):
                return entries
            time.sleep(0.1)
        raise AssertionError("some settlement has no answer")


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "swarmharness", *map(str, arguments)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for words in (["add", str(tiny_skill(tmp_path / NAME, batch_items=64))], ["pull", NAME]):
        command = [*_command("skills", *words), "--data-dir", str(tmp_path / "worker")]
        subprocess.run(command, check=True, capture_output=True)
    text = "".join(f"w{number % 500} w{number * 7 % 500} w{number // 500}\n" for number in range(ITEMS))
    (tmp_path / "in.txt").write_text(text)
    with NodeGroup() as group:
        (worker,) = group.start(NodeLaunch(tmp_path / "worker", skills=(NAME,), config=WORKING))
        yield Place(tmp_path, group, worker)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_job_whose_submitter_and_node_are_killed_three_times_gives_the_same_file(place: Place, seed: int) -> None:
    draw = random.Random(seed)
    client = place.start_client()
    options = ("--verify", "none", "--progress", "none")
    place.run("submit", NAME, "--input", place.inputs, "--out", place.base / "whole.npy", *options)
    moments = sorted(draw.sample(range(100, ITEMS * 3 // 4), 3))
    victims = draw.sample(["submitter", "node", "both"], 3)
    process = place.spawn("submit", NAME, "--input", place.inputs, "--out", place.base / "out.npy", *options)
    while place.job().out.endswith("whole.npy"):
        time.sleep(0.01)
    job_id = place.job().job_id
    for moment, victim in zip(moments, victims, strict=True):
        place.until_answered(moment, process)
        if victim != "node":
            process.kill()
        if victim != "submitter":
            client.kill()
            client = place.start_client()
        process.kill()
        process.communicate()
        kept = place.job()
        assert kept.items_answered >= moment
        process = place.spawn("jobs", "resume", job_id, "--progress", "none")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert (place.base / "out.npy").read_bytes() == (place.base / "whole.npy").read_bytes()
    record = place.job()
    assert (record.job_id, record.state, record.items_answered) == (job_id, JobState.DONE, ITEMS)
    assert not list(place.base.glob(".*")), "nothing half written is left"
    paid = place.settled()
    tasks = [task for entry in paid for task in entry["tasks"]]
    assert len(tasks) == len(set(tasks))
    assert sum(entry["items"] for entry in paid) == 2 * ITEMS
    assert sum(entry["share_microcredits"] for entry in paid) == 2 * ITEMS * PRICE_MICROCREDITS


def test_a_client_without_a_node_resumes_from_its_data_directory(place: Place) -> None:
    join = ("--join", place.worker.join_address)
    options = ("--verify", "none", "--progress", "none", *join)
    process = place.spawn("submit", NAME, "--input", place.inputs, "--out", place.base / "out.npy", *options)
    place.until_answered(300, process)
    process.kill()
    process.communicate()
    (job,) = json.loads("[" + place.run("jobs", "list", "--json").stdout + "]")
    assert job["state"] == "paused"
    place.run("jobs", "resume", job["job"], "--progress", "none", *join)
    place.run("submit", NAME, "--input", place.inputs, "--out", place.base / "whole.npy", *options)
    assert (place.base / "out.npy").read_bytes() == (place.base / "whole.npy").read_bytes()
    assert sum(entry["items"] for entry in place.settled()) == 2 * ITEMS


def test_a_node_finishes_what_a_killed_submitter_fed_it(place: Place) -> None:
    place.start_client()
    process = subprocess.Popen(
        [*_command("submit", NAME, "--verify", "none"), "--data-dir", str(place.data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(place.inputs.read_bytes())
    process.stdin.close()
    place.until_answered(200, process)
    deadline = time.monotonic() + 60
    while not place.job().input_ended and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    # Nothing is piped in again: the node has all that it needs.
    done = place.run("jobs", "resume", place.job().job_id, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["index"] for line in lines] == list(range(ITEMS))
    assert sum(entry["items"] for entry in place.settled()) == ITEMS
