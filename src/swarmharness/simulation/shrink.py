"""Finds the smallest scenario that still breaks the same invariant: by halving nodes, faults and time; bounded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from swarmharness.simulation.scenario import Fault, Group, Scenario
from swarmharness.simulation.simulate import Simulation, simulate

TRIES_MAX = 24
HOURS_MIN = 20 / 3600
TIME_MAX_S = 120.0
"""Of the processor: a shrinking that takes longer stops with what it has."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A smaller scenario that fails alike, and how many were tried."""

    scenario: Scenario
    tries: int


def shrink(
    failed: Simulation,
    *,
    run: Callable[[Scenario, int], Simulation] = simulate,
    tries_max: int = TRIES_MAX,
    spent_s: Callable[[], float] = time.process_time,
) -> Shrunk:
    """Return the smallest scenario found that breaks the first broken invariant of `failed` under the same seed."""
    invariant = failed.violations[0].invariant
    # What comes after the violation is not needed to bring it about.
    at_hours = (failed.violations[0].at_us + 1_000_000) / 3_600_000_000
    smallest = replace(failed.scenario, hours=min(failed.scenario.hours, at_hours))
    tries, started_s = 0, spent_s()
    progress = True
    while progress and tries < tries_max:
        progress = False
        for candidate in smaller(smallest):
            if tries >= tries_max or spent_s() - started_s > TIME_MAX_S:
                return Shrunk(smallest, tries)
            tries += 1
            if any(violation.invariant == invariant for violation in run(candidate, failed.seed).violations):
                smallest, progress = candidate, True
                break
    return Shrunk(smallest, tries)


def smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield scenarios with half of the faults, half of the time, half of the nodes, and without one group or fault."""
    names = list(scenario.faults)
    if len(names) > 1:
        half = len(names) // 2
        yield replace(scenario, faults=_some(scenario.faults, names[:half]))
        yield replace(scenario, faults=_some(scenario.faults, names[half:]))
    if scenario.hours > HOURS_MIN:
        yield replace(scenario, hours=scenario.hours / 2)
    if any(group.count > 1 for group in scenario.nodes.values()):
        yield replace(
            scenario,
            nodes={name: replace(group, count=(group.count + 1) // 2) for name, group in scenario.nodes.items()},
        )
    for name in scenario.faults:
        yield replace(scenario, faults={other: fault for other, fault in scenario.faults.items() if other != name})
    for name in scenario.nodes:
        if sum(group.count > 0 for group in scenario.nodes.values()) > 1 and scenario.nodes[name].count:
            yield replace(scenario, nodes=_without(scenario.nodes, name))


def _some(faults: Mapping[str, Fault], names: list[str]) -> dict[str, Fault]:
    return {name: faults[name] for name in names}


def _without(nodes: Mapping[str, Group], name: str) -> dict[str, Group]:
    """Keep the group, which faults may name, but without nodes."""
    return {other: replace(group, count=0) if other == name else group for other, group in nodes.items()}


def describe(scenario: Scenario) -> str:
    """Return a scenario's size in one line."""
    groups = ", ".join(f"{group.count} {name}" for name, group in scenario.nodes.items() if group.count)
    faults = ", ".join(f"{name} ({fault.kind} at {fault.at_s:g} s)" for name, fault in scenario.faults.items())
    return f"{scenario.hours * 3600:.0f} s with {groups}; faults: {faults or 'none'}"
