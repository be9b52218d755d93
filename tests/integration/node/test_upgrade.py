"""A data directory of an earlier release opens in this one, with everything that it holds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swarmharness.jobs.sqlite_journal import read_jobs
from swarmharness.jobs.verification.sqlite_reputations import SqliteReputationStore
from swarmharness.node.data_dir import DataDir
from swarmharness.node.pause_file import PauseFile
from swarmharness.node.process import NodeGroup, NodeLaunch

RELEASES = sorted((Path(__file__).parents[2] / "fixtures").glob("data-dir-*"))


@pytest.fixture(params=RELEASES, ids=lambda path: path.name)
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    copied = tmp_path / "data"
    shutil.copytree(request.param, copied)
    copied.chmod(0o700)
    for path in copied.iterdir():
        path.chmod(0o600)  # git keeps no modes
    return copied


def run(data_dir: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "swarmharness", *arguments, "--json", "--data-dir", str(data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_the_stores_of_an_earlier_release_hold_what_they_held(data_dir: Path) -> None:
    jobs = read_jobs(data_dir / "jobs.sqlite", 10)
    assert [(str(job.state), job.kind, job.items_answered, job.items_fed) for job in jobs] == [
        ("open", "file-type", 4, 4),
        ("done", "file-type", 3, 3),
        ("done", "file-type", 6, 6),
    ]
    remembered = await SqliteReputationStore(data_dir / "reputations.sqlite").load()
    assert len({row.peer_id for row in remembered}) == 2
    assert PauseFile(DataDir.at(data_dir)).load() is not None


@pytest.mark.processes
def test_a_node_starts_on_the_data_directory_of_an_earlier_release(data_dir: Path) -> None:
    config = (data_dir / "node.toml").read_text()
    with NodeGroup() as group:
        group.start(NodeLaunch(data_dir, config=config))
        jobs = run(data_dir, "jobs", "list")
        assert [job["state"] for job in jobs] == ["paused", "done", "done"]
        (shown,) = run(data_dir, "jobs", "show", jobs[1]["job"])
        assert shown["job"]["verify"] == "always"
        assert sum(chunk["items"] for chunk in shown["chunks"]) == 3
        history = run(data_dir, "credit", "history", "--limit", "100")
        assert sum(receipt["items"] for receipt in history) == 2 * (6 + 3 + 4), (
            "every answer was checked by the other worker"
        )
        assert {receipt["state"] for receipt in history} == {"receipt"}
    run(data_dir, "credit", "audit")
