"""Runs a scenario for somebody's test, with faults as arguments; the pytest plugin hands it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from swarmharness.node.config_schema import Source
from swarmharness.simulation.scenario import Fault, Scenario, load_scenario, parse_scenario
from swarmharness.simulation.simulate import Simulation, simulate


def simulated_swarm(
    scenario: str | Path | Scenario,
    *,
    seed: int = 0,
    nodes: int | None = None,
    hours: float | None = None,
    faults: Mapping[str, Fault] | None = None,
) -> Simulation:
    """Run a scenario (a file, TOML text, or made by hand), with more faults; fails if an invariant breaks.

    `Simulation.load.outcomes` says what became of each request, `Simulation.swarm.nodes` what the nodes hold.
    """
    if isinstance(scenario, Path):
        scenario = load_scenario(scenario)
    elif isinstance(scenario, str):
        scenario = parse_scenario(Source("scenario", scenario))
    scaled = scenario.scaled(nodes=nodes, hours=hours)
    simulation = simulate(replace(scaled, faults={**scaled.faults, **(faults or {})}), seed)
    assert not simulation.violations, f"seed {seed}: {simulation.violations[0]}"
    return simulation
