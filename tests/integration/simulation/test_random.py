"""A slice of the random scenarios; `scripts/simulate-overnight` plays more of them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from swarmharness.cli.application import run
from swarmharness.simulation import overnight
from swarmharness.simulation.checks import Violation
from swarmharness.simulation.playing import ENDLESS, STUCK, play
from swarmharness.simulation.random_scenario import random_scenario
from swarmharness.simulation.scenario import load_scenario
from swarmharness.simulation.simulate import simulate
from tests.unit.simulation.samples import SMALL, small

ROOT = Path(__file__).parents[3]
SLICE = range(1, 41)


@pytest.mark.parametrize("number", SLICE)
def test_a_random_scenario_breaks_no_invariant(number: int) -> None:
    assert play(random_scenario(number), number) is None


BROKEN_SIMULATOR = """
import trio
from swarmharness.simulation.checks import Checks
from swarmharness.simulation.node import SimulatedNode
from swarmharness.simulation.playing import play
from tests.unit.simulation.samples import small

async def spin(self):
    while True:
        await trio.lowlevel.checkpoint()

def fail(self):
    raise ZeroDivisionError("a mistake")

{broken}
violation = play(small(), 1, time_max_s=0.5)
print(violation.invariant, violation.text, sep=": ")
"""


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("SimulatedNode.run_session = spin", f"{ENDLESS}: still busy after 0.5 s of the processor"),
        ("Checks.step = fail", f"{STUCK}: ZeroDivisionError: a mistake"),
    ],
    ids=["endless", "stuck"],
)
def test_a_simulation_that_does_not_end_in_order_is_a_failure_too(broken: str, told: str) -> None:
    """In a process of its own, as it leaves tasks behind that nobody can end."""
    code = BROKEN_SIMULATOR.format(broken=broken)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == told + "\n"


def test_the_command_plays_a_number_and_shows_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["simulate", "--random", "21", "--show-scenario"]) == 0
    path = tmp_path / "21.toml"
    path.write_text(capsys.readouterr().out)
    assert load_scenario(path) == random_scenario(21)
    assert run(["simulate", "--random", "21", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["scenario"], answer["seed"]) == ("random 21", 21)
    assert run(["simulate", str(path), "--seed", "21", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["trace_digest"] == answer["trace_digest"]


@pytest.mark.parametrize("arguments", [[], ["--random", "1", "small.toml"]])
def test_the_command_wants_a_file_or_a_number(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", *arguments]) == 2
    assert "either a SCENARIO.toml or --random N" in capsys.readouterr().err


def night(*arguments: str) -> str:
    command = [sys.executable, "-m", "swarmharness.simulation.overnight", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_night_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    state = tmp_path / "played.jsonl"
    assert "1 distinct numbers" in night("--state", str(state), "--numbers", "21")
    with state.open("a") as file:
        broken = overnight.Played(22, "another version", "its commit", "C-4: paid twice")
        file.write(json.dumps(asdict(broken)) + '\n{"number": 22, "prog')  # the power failed here
    assert "3 distinct numbers were played with all versions, 3 with this one" in night(
        "--state", str(state), "--numbers", "20-22", "--jobs", "1"
    )
    assert [played.number for played in overnight.read_state(state)] == [21, 22, 22, 20]


def test_what_fails_in_a_night_is_shrunk_kept_and_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overnight, "play", lambda *_: Violation("C-4", "paid 2 times", 1, 50_000_000))
    monkeypatch.setattr(overnight, "random_scenario", lambda _: small())
    played = overnight.play_number(9, "program", "commit", tmp_path, 10.0)
    assert played.verdict == "C-4: paid # times"
    assert SMALL.splitlines()[0] in Path(played.kept).read_text()
    assert Path(played.kept).name == "C-4-number-9-seed-9.toml"
    assert "  C-4: paid # times: 9" in overnight.summary([played], "program")


def test_a_single_task_fails_by_its_deadline_although_the_search_for_a_peer_takes_longer() -> None:
    """Found by number 105: while nothing arrives the router searches for 5 s, and the request counted as lost (J-1)."""
    simulation = simulate(small("attempts = 1\ndeadline_s = 0.5\n", delay_ms="5.0\nloss_permille = 1000"), 1)
    assert simulation.violations == ()
    assert simulation.load.outcomes
    assert max(outcome.latency_us for outcome in simulation.load.outcomes) < 700_000
