from __future__ import annotations

from dataclasses import replace
from typing import Any

from swarmharness.node.config_schema import Source
from swarmharness.simulation.checks import Violation
from swarmharness.simulation.playing import kept_text
from swarmharness.simulation.random_scenario import random_scenario
from swarmharness.simulation.scenario import Group, Scenario, parse_scenario
from swarmharness.simulation.scenario_text import scenario_text
from swarmharness.simulation.shrink import describe, shrink, symptom
from swarmharness.simulation.smaller import edits
from tests.unit.simulation.samples import small

FAULTS = "".join(f'\n[faults.f{number}]\nkind = "crash"\nat_s = {10 * number}\n' for number in range(4))
BROKEN = Violation("C-4", "node 3 counts a second receipt for task 4711", 9, 100_000_000)


def test_the_smallest_failing_scenario_keeps_only_what_the_failure_needs() -> None:
    tried: list[Any] = []

    def play(scenario: Scenario, seed: int) -> Violation | None:
        tried.append(scenario)
        workers = scenario.nodes.get("workers", Group(count=0))
        return BROKEN if "f2" in scenario.faults and workers.count >= 2 else None

    shrunk = shrink(small(FAULTS), 3, BROKEN, play=play, spent_s=lambda: 0.0)
    assert list(shrunk.scenario.faults) == ["f2"]
    assert {name: group.count for name, group in shrunk.scenario.nodes.items()} == {"workers": 2}
    assert shrunk.scenario.hours < 0.007
    assert shrunk.tries == len(tried)
    assert "f2 (crash at 0 s)" in describe(shrunk.scenario)


def test_what_a_large_scenario_fails_for_is_all_that_is_left_of_it() -> None:
    """Number 1 has 4 groups, 3 skills, 3 faults and 30 settings; the failure needs four of these things."""
    large = random_scenario(1)

    def play(scenario: Scenario, seed: int) -> Violation | None:
        liar = scenario.nodes.get("speed-liar")
        fails = "slow-disk" in scenario.faults and liar is not None and liar.requests_per_hour >= 10
        return BROKEN if fails and scenario.network.spread == 20.0 else None

    shrunk = shrink(large, 1, BROKEN, play=play, spent_s=lambda: 0.0).scenario
    assert list(shrunk.nodes) == ["speed-liar"]
    assert list(shrunk.faults) == ["slow-disk"]
    assert len(shrunk.skills) == 1
    assert 10 <= shrunk.nodes["speed-liar"].requests_per_hour < 20
    text = scenario_text(shrunk)
    assert len([line for line in text.splitlines() if line]) < 20, text
    assert parse_scenario(Source("kept.toml", text)) == shrunk


def test_another_symptom_is_not_the_same_failure() -> None:
    other = Violation("C-4", "something else about 4711", 9, 100_000_000)
    shrunk = shrink(small(FAULTS), 3, BROKEN, play=lambda *_: other, spent_s=lambda: 0.0)
    assert len(shrunk.scenario.faults) == 4
    assert symptom(BROKEN) == symptom(replace(BROKEN, text="node 5 counts a second receipt for task 8", step=2))


def test_a_failure_that_chance_moved_is_found_under_another_seed() -> None:
    def play(scenario: Scenario, seed: int) -> Violation | None:
        return BROKEN if seed == 3 + 4 - len(scenario.faults) else None

    shrunk = shrink(small(FAULTS), 3, BROKEN, play=play, spent_s=lambda: 0.0)
    assert shrunk.scenario.faults == {}
    assert shrunk.seed == 7


def test_shrinking_ends_when_its_time_or_its_tries_are_spent() -> None:
    times = iter(range(0, 10_000, 100))
    assert shrink(small(FAULTS), 3, BROKEN, play=lambda *_: BROKEN, spent_s=lambda: next(times)).tries <= 2
    assert shrink(small(FAULTS), 3, BROKEN, play=lambda *_: None, tries_max=7, spent_s=lambda: 0.0).tries == 7


def test_every_edit_of_a_random_scenario_gives_a_valid_one() -> None:
    for number in range(4):
        scenario = random_scenario(number)
        for edit in edits(scenario):
            text = scenario_text(edit(scenario))
            assert scenario_text(parse_scenario(Source("edited.toml", text))) == text


def test_what_is_kept_says_what_failed_and_can_be_played() -> None:
    scenario = small(FAULTS)
    text = kept_text(shrink(scenario, 3, BROKEN, play=lambda *_: None, tries_max=1), "number 12", "abc")
    assert "# C-4: node 3 counts a second receipt" in text
    assert "--seed 3, at commit abc" in text
    assert "# from number 12" in text
    assert parse_scenario(Source("kept.toml", text)) == scenario
