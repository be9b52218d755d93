"""A worker and a data directory from which jobs are submitted, as real processes; for the tests of this folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli.connection import call_node
from swarmharness.jobs.journal import JobRecord
from swarmharness.jobs.sqlite_journal import read_jobs
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from tests.integration.jobs.tiny_skill import NAME, tiny_skill

ITEMS = 1600
HEARTBEATS = "\n[network]\nheartbeat_s = 0.5\n"
ASKING = "version = 1\n\n[execution]\nskills = []\n\n[jobs]\nchunk_target_ms = 50\n" + HEARTBEATS
WORKING = "version = 1\n\n[execution]\nthreads = 1\ncpu_share = 0.1\n" + HEARTBEATS


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
            [*command(*arguments), "--data-dir", str(self.data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        words = [*command(*arguments), "--data-dir", str(self.data_dir)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == status, done.stderr
        return done

    def listed(self) -> list[dict[str, Any]]:
        """The newest jobs, as the running node tells them."""
        jobs: list[dict[str, Any]] = call_node(self.data_dir, "job.list", {})["jobs"]
        return jobs

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


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "swarmharness", *map(str, arguments)]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that has the skill, and beside it the cache that has its model."""
    base = tmp_path_factory.mktemp("installed")
    environment = {**os.environ, "XDG_CACHE_HOME": str(base / "cache")}
    for verb in (["add", str(tiny_skill(base / NAME, batch_items=64))], ["pull", NAME]):
        words = [*command("skills", *verb), "--data-dir", str(base / "worker")]
        subprocess.run(words, check=True, capture_output=True, env=environment)
    return base / "worker"


@pytest.fixture
def place(tmp_path: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(installed.with_name("cache")))
    shutil.copytree(installed, tmp_path / "worker")
    text = "".join(f"w{number % 500} w{number * 7 % 500} w{number // 500}\n" for number in range(ITEMS))
    (tmp_path / "in.txt").write_text(text)
    with NodeGroup() as group:
        (worker,) = group.start(NodeLaunch(tmp_path / "worker", skills=(NAME,), config=WORKING))
        yield Place(tmp_path, group, worker)
