"""Plays the routing scenario under each policy, load and variant, and tabulates what came of it; it sets no goal.

Load is a share of the capacity that the nodes would have if they never failed and were never slow. What the clients
ask while they get to know the swarm is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from swarmharness.simulation.scenario import Group, Scenario, SkillModel, load_scenario
from swarmharness.simulation.simulate import simulate
from swarmharness.simulation.swarm import speed_permille_of

SCENARIO = Path(__file__).parent.parent / "configs" / "scenarios" / "routing-50.toml"
GOOD_US = 2_000_000
WARM_UP_S = 12.0
PROFICIENCY_SIGMA = 0.6
SKILLS = ("answer", "translate", "draw")
POLICIES = (
    "utility",
    "utility, no hedges",
    "prequal",
    "peak-ewma",
    "two-choices",
    "least-outstanding",
    "round-robin",
    "random",
)
COLUMNS = ("policy", "variant", "load", "seeds", "requests", "p50 ms", "p99 ms", "goodput", "probes", "hedges")


@dataclass(frozen=True, slots=True)
class Cell:
    """One line of the table."""

    policy: str
    load: float = 0.7
    variant: str = ""
    """Empty, or one of: proficiency, liars, gossip 10 s."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One cell under one or more seeds."""

    cell: Cell
    seeds: int
    latencies_us: tuple[int, ...]
    """Of answered requests, ascending."""
    requests: int
    probes: float
    """For each request."""
    hedges: float

    def percentile_ms(self, percent: int) -> float:
        """Return a percentile of the latency of all requests; one that was never answered took the longest."""
        place = self.requests * percent // 100
        return (self.latencies_us[min(place, len(self.latencies_us) - 1)] if self.latencies_us else 0) / 1000

    @property
    def goodput(self) -> float:
        """The share of requests that were answered within two seconds."""
        return sum(latency_us <= GOOD_US for latency_us in self.latencies_us) / max(1, self.requests)

    def row(self) -> tuple[str, ...]:
        """Return its line of the table, under `COLUMNS`."""
        return (
            self.cell.policy,
            self.cell.variant,
            f"{self.cell.load:g}",
            str(self.seeds),
            str(self.requests),
            f"{self.percentile_ms(50):.0f}",
            f"{self.percentile_ms(99):.0f}",
            f"{self.goodput:.3f}",
            f"{self.probes:.2f}",
            f"{self.hedges:.3f}",
        )


def measure(cells: Iterable[Cell], seeds: Sequence[int], *, counted_s: float, processes: int) -> list[Outcome]:
    """Return the outcome of each cell, in order; every seed of a cell is a simulation of its own."""
    wanted = [(cell, seed) for cell in cells for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        played = list(pool.map(_play, wanted, [counted_s] * len(wanted)))
    return [_joined(played[start : start + len(seeds)]) for start in range(0, len(played), len(seeds))]


def scenario_of(cell: Cell, counted_s: float) -> Scenario:
    """Return the routing scenario for a cell, long enough to count so many seconds."""
    scenario = load_scenario(SCENARIO)
    clients = scenario.nodes["clients"]
    workers = {name: group for name, group in scenario.nodes.items() if group.serves}
    if cell.variant == "liars":
        workers = dict(part for name, group in workers.items() for part in _with_liars(name, group))
    skills: dict[str, SkillModel] = dict(scenario.skills)
    if cell.variant == "proficiency":
        skills = dict.fromkeys(SKILLS, scenario.skills["answer"])
        clients = replace(clients, skill="")
        workers = {
            name: replace(group, serves=SKILLS, proficiency_sigma=PROFICIENCY_SIGMA) for name, group in workers.items()
        }
    work_s = scenario.skills["answer"].work_ms / 1000
    slots = sum(
        group.slots * speed_permille_of(group, number) / 1000
        for group in workers.values()
        for number in range(group.count)
    )
    per_hour = 3600 * cell.load * slots / work_s / clients.count
    routing = scenario.routing
    if cell.variant == "gossip 10 s":
        routing = replace(routing, gossip_s=10.0)
    if cell.policy == "utility, no hedges":
        routing = replace(routing, hedge_share=0.0)
    return replace(
        scenario,
        hours=(clients.starts_s + WARM_UP_S + counted_s) / 3600,
        node=replace(scenario.node, router=cell.policy.partition(",")[0]),
        nodes={"clients": replace(clients, requests_per_hour=per_hour), **workers},
        skills=skills,
        routing=routing,
    )


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as aligned lines."""
    lines = [COLUMNS, *(outcome.row() for outcome in outcomes)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def _with_liars(name: str, group: Group) -> list[tuple[str, Group]]:
    """Split a group: one in five hides its queue. Liars and honest nodes are as fast."""
    liars = round(group.count / 5)
    return [
        (name, replace(group, count=group.count - liars)),
        (f"{name}-liars", replace(group, count=liars, role="load-liar")),
    ]


def _play(wanted: tuple[Cell, int], counted_s: float) -> Outcome:
    cell, seed = wanted
    scenario = scenario_of(cell, counted_s)
    simulation = simulate(scenario, seed)
    if simulation.violations:
        raise RuntimeError(f"{cell}, seed {seed}: {simulation.violations[0]}")
    begins_us = round((scenario.nodes["clients"].starts_s + WARM_UP_S) * 1e6)
    counted = [outcome for outcome in simulation.load.outcomes if outcome.at_us >= begins_us]
    latencies_us = sorted(outcome.latency_us for outcome in counted if outcome.answered)
    made = max(1, simulation.load.requests)
    probes, hedges = (sum(counts.values()) / made for counts in (simulation.load.probes, simulation.load.hedges))
    return Outcome(cell, 1, tuple(latencies_us), len(counted), probes, hedges)


def _joined(parts: Sequence[Outcome]) -> Outcome:
    return Outcome(
        cell=parts[0].cell,
        seeds=len(parts),
        latencies_us=tuple(sorted(latency_us for part in parts for latency_us in part.latencies_us)),
        requests=sum(part.requests for part in parts),
        probes=sum(part.probes for part in parts) / len(parts),
        hedges=sum(part.hedges for part in parts) / len(parts),
    )
