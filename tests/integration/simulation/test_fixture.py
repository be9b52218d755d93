from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from swarmharness.simulation.scenario import Fault
from swarmharness.simulation.simulate import Simulation
from tests.unit.simulation.samples import SMALL


def test_the_fixture_runs_a_scenario_with_the_faults_that_it_is_given(
    simulated_swarm: Callable[..., Simulation],
) -> None:
    quiet = simulated_swarm(SMALL, seed=4)
    fault = Fault(kind="crash", at_s=30.0, for_s=600.0, groups=("workers",), percent=100)
    struck = simulated_swarm(SMALL, seed=4, faults={"all-gone": fault})
    assert all(outcome.answered for outcome in quiet.load.outcomes)
    late = [outcome for outcome in struck.load.outcomes if outcome.at_us > 31_000_000]
    assert late
    assert not any(outcome.answered for outcome in late)


def test_a_broken_invariant_fails_the_test_of_whoever_uses_it(
    simulated_swarm: Callable[..., Simulation], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drive(self: object, _: trio.Nursery) -> None:
        return None

    monkeypatch.setattr("swarmharness.jobs.service.Job.drive", drive)
    with pytest.raises(AssertionError, match="J-1"):
        simulated_swarm(SMALL, seed=4)
