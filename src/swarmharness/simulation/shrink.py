"""Finds a small scenario that fails as a large one did: leaves out and lessens one thing after another; bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from swarmharness.simulation.checks import Violation
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.scenario_text import scenario_text
from swarmharness.simulation.smaller import Edit, edits

TRIES_MAX = 600
TIME_MAX_S = 120.0
"""Of the processor: a shrinking that takes longer stops with what it has."""
SEEDS = 3
"""What is left out moves chance: a smaller scenario is tried with so many seeds before it is given up."""

Play = Callable[[Scenario, int], Violation | None]
"""Runs a scenario under a seed, and returns the first violation."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A smaller scenario that fails alike under `seed`, and how many were tried."""

    scenario: Scenario
    seed: int
    violation: Violation
    tries: int


def symptom(violation: Violation) -> str:
    """Return what two violations have in common that are the same failure: the text without names and numbers."""
    text = re.sub(r"\b[0-9A-Za-z]{20,}\b", "#", violation.text)
    text = re.sub(r"\d+", "#", text)
    return f"{violation.invariant}: {re.sub(r'#(, #)+', '#', text)}"


def shrink(
    scenario: Scenario,
    seed: int,
    violation: Violation,
    *,
    play: Play,
    tries_max: int = TRIES_MAX,
    time_max_s: float = TIME_MAX_S,
    spent_s: Callable[[], float] = time.process_time,
) -> Shrunk:
    """Return the smallest scenario found with the symptom of `violation`, the first of `scenario` under `seed`."""
    search = _Search(Shrunk(scenario, seed, violation, 0), play, tries_max, spent_s() + time_max_s, spent_s)
    search.helps(_until(violation))
    progress = True
    while progress:
        progress = False
        for edit in list(edits(search.best.scenario)):
            while search.helps(edit):
                search.helps(_until(search.best.violation))
                progress = True
    return replace(search.best, tries=search.tries)


def _until(violation: Violation) -> Edit:
    """Leave out what comes after a violation."""
    hours = -(-(violation.at_us + 1_000_000) // 360_000) / 10_000
    return lambda scenario: replace(scenario, hours=min(scenario.hours, hours))


class _Search:
    """The smallest so far, what was tried, and what is left of the bounds."""

    def __init__(self, begin: Shrunk, play: Play, tries_max: int, ends_s: float, spent_s: Callable[[], float]) -> None:
        self.best, self.tries = begin, 0
        self._play, self._tries_max, self._ends_s, self._spent_s = play, tries_max, ends_s, spent_s
        self._symptom = symptom(begin.violation)
        self._seen = {scenario_text(begin.scenario)}

    def helps(self, edit: Edit) -> bool:
        """Apply an edit, and keep its outcome if that was not tried yet and fails alike."""
        candidate = edit(self.best.scenario)
        text = scenario_text(candidate)
        if text in self._seen:
            return False
        self._seen.add(text)
        for seed in range(self.best.seed, self.best.seed + SEEDS):
            if self.tries >= self._tries_max or self._spent_s() > self._ends_s:
                return False
            self.tries += 1
            violation = self._play(candidate, seed)
            if violation is not None and symptom(violation) == self._symptom:
                self.best = Shrunk(candidate, seed, violation, self.tries)
                return True
        return False


def describe(scenario: Scenario) -> str:
    """Return a scenario's size in one line."""
    groups = ", ".join(f"{group.count} {name}" for name, group in scenario.nodes.items() if group.count)
    faults = ", ".join(f"{name} ({fault.kind} at {fault.at_s:g} s)" for name, fault in scenario.faults.items())
    return f"{scenario.hours * 3600:.0f} s with {groups}; faults: {faults or 'none'}"
