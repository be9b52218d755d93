"""Real processes: a job whose only worker is frozen waits and goes on; a damaged journal ends no node."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from tests.integration.jobs.places import ITEMS, Place, installed, place
from tests.integration.jobs.tiny_skill import NAME

__all__ = ["installed", "place"]

pytestmark = [pytest.mark.processes]
PAGE_BYTES = 4096


def until_event(process: subprocess.Popen[bytes], key: str) -> dict[str, Any]:
    """Read progress events until one has something under `key`; the command's own end bounds the wait."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(b"{"):
            event: dict[str, Any] = json.loads(line)
            if event.get(key):
                return event
    raise AssertionError(f"the command ended with status {process.wait()} and told no {key}")


def test_a_frozen_worker_is_waited_for_and_the_job_goes_on_by_itself(place: Place) -> None:
    place.start_client()
    options = ("--verify", "none", "--progress", "json", "--deadline", "600", "--out", place.base / "out.npy")
    process = place.spawn("submit", NAME, "--input", place.inputs, *options)
    place.until_answered(100, process)
    place.worker.pause()
    try:
        event = until_event(process, "waiting_for")
    finally:
        place.worker.resume()
    assert f"a node that serves '{NAME}'" in event["waiting_for"]
    assert 100 <= event["items_done"] < ITEMS
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert not np.isnan(np.load(place.base / "out.npy")).any()


def test_a_node_that_goes_away_leaves_its_command_with_what_to_do(place: Place) -> None:
    client = place.start_client()
    process = place.spawn("submit", NAME, "--input", place.inputs, "--verify", "none", "--progress", "none")
    place.until_answered(100, process)
    client.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 4
    job_id = place.job().job_id
    (said,) = [line for line in errors.decode().splitlines() if line.startswith("error: ")]
    assert "the node went away" in said
    assert f"swarmharness jobs resume {job_id}" in said


def test_pages_that_flip_under_a_running_node_cost_it_answers_and_no_more(place: Place) -> None:
    client = place.start_client()
    options = ("--verify", "none", "--progress", "none", "--json")
    place.inputs.write_text("".join(place.inputs.read_text().splitlines(keepends=True)[:400]))
    place.run("submit", NAME, "--input", place.inputs, *options)
    path = place.data_dir / "jobs.sqlite"
    place.listed()  # what was noted is written,
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # into the file itself
    pages = path.stat().st_size // PAGE_BYTES
    with path.open("r+b") as file:
        for page in random.Random(1).sample(range(1, pages), 6):
            file.seek(page * PAGE_BYTES)
            file.write(random.Random(page).randbytes(PAGE_BYTES))
    done = place.run("submit", NAME, "w1 w2", "w3", *options)
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == [0, 1]
    place.listed()
    place.run("submit", NAME, "--input", place.inputs, *options)
    assert client.process.poll() is None
    assert list(path.parent.glob("jobs.sqlite.damaged-*"))
    assert client.stop() == 0
    client = place.start_client()
    place.listed()
    place.run("submit", NAME, "w1 w2", *options)
    assert client.process.poll() is None
