from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from swarmharness.simulation.checks import Violation
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.shrink import describe, shrink
from swarmharness.simulation.simulate import Simulation
from tests.unit.simulation.samples import small

FAULTS = "".join(f'\n[faults.f{number}]\nkind = "crash"\nat_s = {10 * number}\n' for number in range(4))
BROKEN = Violation("C-4", "paid twice", 9, 100_000_000)


def ended(scenario: Scenario, *violations: Violation) -> Simulation:
    return cast(Simulation, SimpleNamespace(scenario=scenario, seed=3, violations=violations))


def test_the_smallest_failing_scenario_keeps_only_what_the_failure_needs() -> None:
    tried: list[Any] = []

    def run(scenario: Scenario, seed: int) -> Simulation:
        assert seed == 3
        tried.append(scenario)
        fails = "f2" in scenario.faults and scenario.nodes["workers"].count >= 2
        return ended(scenario, *([BROKEN] if fails else []))

    shrunk = shrink(ended(small(FAULTS), BROKEN), run=run, tries_max=60, spent_s=lambda: 0.0)
    assert list(shrunk.scenario.faults) == ["f2"]
    assert shrunk.scenario.nodes["workers"].count == 2
    assert shrunk.scenario.hours < 0.05 / 2
    assert shrunk.tries == len(tried) <= 60
    assert "f2 (crash at 20 s)" in describe(shrunk.scenario)


def test_another_invariant_that_breaks_is_not_the_same_failure() -> None:
    other = Violation("J-1", "lost", 9, 100_000_000)
    shrunk = shrink(ended(small(FAULTS), BROKEN), run=lambda scenario, _: ended(scenario, other), spent_s=lambda: 0.0)
    assert len(shrunk.scenario.faults) == 4


def test_shrinking_ends_when_its_time_is_spent() -> None:
    times = iter(range(0, 10_000, 100))
    shrunk = shrink(
        ended(small(FAULTS), BROKEN), run=lambda scenario, _: ended(scenario, BROKEN), spent_s=lambda: next(times)
    )
    assert shrunk.tries <= 2
