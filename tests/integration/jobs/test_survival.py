"""Real processes, killed with SIGKILL at seeded moments: the job is resumed, and nothing is lost or paid twice."""

from __future__ import annotations

import json
import random
import subprocess
import time

import pytest

from swarmharness.jobs.journal import JobState
from tests.integration.jobs.places import ITEMS, Place, command, installed, place
from tests.integration.jobs.tiny_skill import NAME, PRICE_MICROCREDITS

__all__ = ["installed", "place"]

pytestmark = [pytest.mark.processes]


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
        [*command("submit", NAME, "--verify", "none"), "--data-dir", str(place.data_dir)],
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
