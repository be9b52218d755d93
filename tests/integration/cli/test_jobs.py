"""`swarmharness jobs` and what submit says about budgets and deadlines, against real nodes with a tiny skill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli.connection import call_node
from swarmharness.jobs.sqlite_journal import read_jobs
from swarmharness.node.process import NodeGroup, NodeLaunch
from tests.integration.jobs.tiny_skill import NAME, PRICE_MICROCREDITS, tiny_skill

pytestmark = [pytest.mark.processes]

ITEMS = 600
MANY = 30_000
"""It takes longer than the second between two events."""


class Shell:
    """A user with a running node, and a worker somewhere."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.worker_id = ""

    def run(self, *arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "swarmharness", *map(str, arguments), "--data-dir", str(self.base / "client")]
        return subprocess.run(command, capture_output=True, text=True, check=False, input=text, cwd=self.base)

    def newest(self) -> dict[str, Any]:
        job: dict[str, Any] = call_node(self.base / "client", "job.list", {"limit": 1})["jobs"][0]
        return job

    def inputs(self, name: str = "in.txt", count: int = ITEMS) -> Path:
        path = self.base / name
        path.write_text("".join(f"w{number % 500} w{number // 500}\n" for number in range(count)))
        return path


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    base = tmp_path_factory.mktemp("jobs")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(base / "cache")
    try:
        for words in (["add", str(tiny_skill(base / NAME))], ["pull", NAME]):
            command = [sys.executable, "-m", "swarmharness", "skills", *words, "--data-dir", str(base / "worker")]
            subprocess.run(command, check=True, capture_output=True)
        with NodeGroup() as group:
            config = "version = 1\n\n[execution]\nthreads = 1\n"
            (worker,) = group.start(NodeLaunch(base / "worker", skills=(NAME,), config=config))
            asking = "version = 1\n\n[execution]\nskills = []\n"
            group.start(NodeLaunch(base / "client", (worker.join_address,), config=asking))
            made = Shell(base)
            made.worker_id = worker.peer_id
            yield made
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def unchecked(*more: str | Path) -> list[str | Path]:
    return ["--verify", "none", *more]


def test_a_budget_below_the_cheapest_price_names_peers_and_prices(shell: Shell) -> None:
    done = shell.run("submit", NAME, "w1", *unchecked("--budget", str(PRICE_MICROCREDITS - 1)))
    assert done.returncode == 5
    assert f"which costs {PRICE_MICROCREDITS} at {shell.worker_id}" in done.stderr
    assert done.stdout == ""


def test_a_budget_ends_a_job_keeps_what_came_and_more_money_finishes_it(shell: Shell) -> None:
    path, whole, out = shell.inputs(), shell.base / "whole.npy", shell.base / "o.npy"
    assert shell.run("submit", NAME, "--input", path, "--out", whole, *unchecked()).returncode == 0
    budget = PRICE_MICROCREDITS * 100
    done = shell.run("submit", NAME, "--input", path, "--out", out, *unchecked("--budget", str(budget)))
    assert done.returncode == 7
    assert "no result for input" in done.stderr
    assert len(done.stderr.splitlines()) <= 23, "inputs that lack a result for one reason share a line"
    assert f"the budget of {budget} micro-credits is used up" in done.stderr
    assert "error: 500 of 600 inputs have no result" in done.stderr
    job = shell.newest()
    assert (job["state"], job["spent_microcredits"], job["items_answered"]) == ("budget", budget, 100)
    poor = shell.run("jobs", "resume", job["job"])
    assert poor.returncode == 5
    assert "give it a larger --budget" in poor.stderr
    terms = ("--budget", str(2 * budget), "--deadline", "0.000001")
    late = shell.run("jobs", "resume", job["job"], "--json", *terms)
    assert late.returncode == 7
    assert [json.loads(line)["index"] for line in late.stdout.splitlines()] == list(range(ITEMS))
    assert "the rest of the input" not in late.stderr, "it was read to its end before"
    done = shell.run("jobs", "resume", job["job"][:6], "--budget", "1c", "--deadline", "600")
    assert (done.returncode, done.stdout) == (0, "")
    assert out.read_bytes() == whole.read_bytes()
    assert shell.newest()["state"] == "done"


def test_a_done_job_can_be_written_again_elsewhere(shell: Shell) -> None:
    path, one, two = shell.inputs(), shell.base / "one.jsonl", shell.base / "two.jsonl"
    assert shell.run("submit", NAME, "--input", path, "--out", one, *unchecked()).returncode == 0
    job = shell.newest()["job"]
    assert shell.run("jobs", "resume", job, "--out", two).returncode == 0
    assert two.read_bytes() == one.read_bytes(), "peers, times and receipts are those of the answers"
    assert shell.newest()["spent_microcredits"] == ITEMS * PRICE_MICROCREDITS


def test_an_input_that_changed_since_is_named_by_its_first_line(shell: Shell) -> None:
    path, out = shell.inputs("changing.txt"), shell.base / "changing.npy"
    budget = str(PRICE_MICROCREDITS * 50)
    assert shell.run("submit", NAME, "--input", path, "--out", out, *unchecked("--budget", budget)).returncode == 7
    job = shell.newest()["job"]
    partial = out.read_bytes()
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:321], "w9 w9\n", *lines[322:]]))
    done = shell.run("jobs", "resume", job, "--budget", "1c")
    assert done.returncode == 3
    assert "changing.txt, line 322: input 321 is not what it was" in done.stderr
    assert out.read_bytes() == partial
    path.write_text("".join(lines[:500]))
    done = shell.run("jobs", "resume", job, "--budget", "1c")
    assert done.returncode == 3
    assert "ends after 500 items now, and had 600 before" in done.stderr
    path.write_text("".join(lines))
    assert shell.run("jobs", "resume", job, "--budget", "1c").returncode == 0


def test_lines_from_standard_input_are_asked_for_again(shell: Shell) -> None:
    text = shell.inputs().read_text()
    budget = str(PRICE_MICROCREDITS * 50)
    assert shell.run("submit", NAME, *unchecked("--budget", budget), text=text).returncode == 7
    job = shell.newest()
    assert job["source"]["files"] == ["-"]
    done = shell.run("jobs", "resume", job["job"], "--budget", "1c")
    assert done.returncode == 3
    assert "came from standard input: pipe the same lines in again" in done.stderr
    done = shell.run("jobs", "resume", job["job"], "--budget", "1c", "--json", text=text)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["index"] for line in done.stdout.splitlines()] == list(range(ITEMS))


def test_a_job_is_listed_shown_and_cancelled(shell: Shell) -> None:
    assert shell.run("submit", NAME, "w1 w2", "w3", *unchecked()).returncode == 0
    job = shell.newest()["job"]
    listed = shell.run("jobs", "list").stdout
    assert job in listed
    assert "2 of 2" in listed
    assert json.loads(shell.run("jobs", "list", "--limit", "1", "--json").stdout)["job"] == job
    shown = shell.run("jobs", "show", job, "--why").stdout
    assert shell.worker_id in shown
    assert "first of 1" in shown
    assert "time:" in shown
    answer = json.loads(shell.run("jobs", "show", job, "--json").stdout)
    assert answer["job"]["source"]["arguments"] == ["w1 w2", "w3"]
    assert answer["chunks"][0]["items"] == 2
    assert "why" not in answer["chunks"][0]
    assert json.loads(shell.run("jobs", "show", job, "--json", "--why").stdout)["chunks"][0]["why"]["considered"] == 1
    done = shell.run("jobs", "cancel", job)
    assert done.returncode == 0
    assert shell.newest()["state"] == "done", "what is done stays done"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["jobs", "show", "nope"], 3, "there is no job 'nope' here; `swarmharness jobs list`"),
        (["jobs", "resume", "nope"], 3, "there is no job 'nope' here"),
        (["jobs", "cancel", "nope"], 3, "there is no job 'nope' here"),
        (["jobs", "resume", "x", "--deadline", "-5"], 2, "--deadline -5: it has passed already"),
        (["submit", NAME, "w1", "--deadline", "0"], 2, "--deadline 0: it has passed already"),
        (["submit", NAME, "w1", "--budget", "-5"], 2, "--budget -5: write micro-credits as a whole number"),
        (["submit", NAME, "w1", "--budget", "lots"], 2, "--budget lots: write micro-credits"),
        (["submit", NAME, "w1", "--budget", "1.1234567c"], 2, "credits with a c"),
        (["submit", NAME, "w1", "--verify", "never"], 2, "--verify never: allowed is one of none, adaptive, always"),
        (["submit", NAME, "w1", "--replicas", "0"], 2, "--replicas 0: allowed is 1 to 9"),
        (["submit", NAME, "w1", "--progress", "loud"], 2, "--progress loud: allowed is one of auto, bar"),
    ],
)
def test_a_mistake_is_one_line_with_a_status(shell: Shell, arguments: list[str], status: int, words: str) -> None:
    done = shell.run(*arguments)
    assert done.returncode == status
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_deadline_that_passes_at_once_keeps_nothing_and_says_so(shell: Shell) -> None:
    done = shell.run("submit", NAME, "--input", shell.inputs(), *unchecked("--deadline", "0.000001"))
    assert done.returncode == 6
    assert "the job's deadline" in done.stderr
    assert "passed" in done.stderr


def test_progress_can_be_read_by_programs(shell: Shell) -> None:
    path = shell.inputs("many.txt", MANY)
    done = shell.run("submit", NAME, "--input", path, "--out", "many.npy", *unchecked("--progress", "json"))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events, "it takes longer than a second"
    done_so_far = [event["items_done"] for event in events]
    assert done_so_far == sorted(done_so_far)
    assert all(event["items_per_s"] > 0 and event["left_s"] >= 0 for event in events)
    assert all(abs(event["items_total"] - MANY) < MANY // 5 for event in events)


def test_without_a_node_the_journal_is_read_from_its_file(shell: Shell, tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "swarmharness", *arguments, "--data-dir", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("jobs", "list")
    assert done.returncode == 4
    assert "no node runs on" in done.stderr
    (tmp_path / "jobs.sqlite").write_bytes(b"junk" * 1000)
    done = run("jobs", "list")
    assert done.returncode == 3
    assert "is damaged" in done.stderr
    assert (tmp_path / "jobs.sqlite").read_bytes() == b"junk" * 1000
    assert read_jobs(shell.base / "client" / "jobs.sqlite", 3)
