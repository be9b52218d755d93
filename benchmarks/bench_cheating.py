"""What cheating about results brings on the simulator: by kind of cheat, share of the workers, and mode of checks.

Twenty-one workers of one speed and one requester, the real services. A cheat's income is what receipts paid it, against
what they paid an honest worker; what was voided was never paid. The break-even is the cost of work, as a share of its
price, above which a worker would have been better off cheating: (income of the honest - of cheats) / (work of the
honest - of cheats); above 1 it never pays. `patient` cheats do 40 tasks honestly first; `slow` ones see a task a
minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import Row, judge, median
from swarmharness.simulation.gains import LAST
from swarmharness.simulation.scenario import Group, Scenario, load_scenario
from swarmharness.simulation.simulate import Simulation, simulate
from swarmharness.simulation.work import PARTS

NAME = "cheating"
DESCRIPTION = "income of cheats against honest workers, wrong answers handed up, and the break-even, on the simulator"

SCENARIO = Path(__file__).parents[1] / "configs" / "scenarios" / "attack-on-results.toml"
WORKERS = 21
KINDS = ("noise", "stale", "copied", "lazy", "cartel")
CHEATS = {5: 1, 20: 4, 33: 7}
"""Percent of the workers, and how many of 21 these are."""
PROVEN_AFTER = 40


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    mode: str
    kind: str
    percent: int
    patient: bool = False
    slow: bool = False
    cheats_percent: int = 100

    @property
    def name(self) -> str:
        """As it is printed."""
        extra = ".patient" * self.patient + ".slow" * self.slow
        extra += f".on_{self.cheats_percent}%" * (self.cheats_percent < 100)
        return f"{self.mode}.{self.kind}.{self.percent}%{extra}"


@dataclass(frozen=True, slots=True)
class Found:
    """What one run showed, for each worker; credits are seconds of a reference core."""

    honest: float
    cheat: float
    honest_work: float
    cheat_work: float
    wrong_percent: float
    late_percent: float
    """Of the answers in the last third of the time, those by cheats."""

    @property
    def break_even(self) -> float:
        """See the module; 0 if cheats earn more than honest workers, whatever work costs."""
        saved = self.honest_work - self.cheat_work
        return max(0.0, (self.honest - self.cheat) / saved) if saved > 0 else float(self.honest > self.cheat)


def cases(quick: bool) -> Iterator[Case]:
    """Return what is measured."""
    if quick:
        yield from (Case(mode, kind, 33) for mode in ("none", "adaptive") for kind in ("noise", "cartel"))
        return
    yield from (Case("none", kind, 20) for kind in KINDS)
    yield from (Case(mode, kind, share) for mode in ("adaptive", "always") for kind in KINDS for share in CHEATS)
    yield from (Case("adaptive", kind, share, patient=True) for kind in KINDS for share in CHEATS)
    yield from (Case("adaptive", "noise", 20, patient=True, cheats_percent=share) for share in (5, 20))
    yield from (Case("adaptive", "noise", 20, patient=True, slow=True, cheats_percent=share) for share in (20, 100))


def run(quick: bool) -> list[Row]:
    """See `harness.Benchmark`."""
    rows = []
    for case in cases(quick):
        found = [measure(case, seed) for seed in range(1, 2 if quick or case.slow else 4)]
        goal = None if case.mode == "none" else 1.0
        income = median([each.cheat / each.honest for each in found])
        rows.append(judge(f"{case.name}.income", income, "x honest", at_most=goal))
        rows.append(judge(f"{case.name}.break_even", median([each.break_even for each in found]), "of the price"))
        rows.append(judge(f"{case.name}.wrong", median([each.wrong_percent for each in found]), "%"))
        rows.append(judge(f"{case.name}.late_share", median([each.late_percent for each in found]), "%"))
    return rows


def measure(case: Case, seed: int) -> Found:
    """Run one case."""
    simulation = simulate(scenario_of(case), seed)
    assert not simulation.violations, simulation.violations
    outcomes = simulation.load.outcomes
    cheats = {node.index for node in simulation.swarm.nodes if node.group_name == "cheats"}
    late_us = simulation.swarm.work.total_us * LAST.start // PARTS
    late = [outcome for outcome in outcomes if outcome.answered and outcome.at_us >= late_us]
    answered = sum(outcome.answered for outcome in outcomes)
    wrong = sum(outcome.answered and not outcome.right for outcome in outcomes)
    return Found(
        honest=_each(simulation, "honest", simulation.swarm.checks.earned),
        cheat=_each(simulation, "cheats", simulation.swarm.checks.earned),
        honest_work=_each(simulation, "honest", _busy_us(simulation)),
        cheat_work=_each(simulation, "cheats", _busy_us(simulation)),
        wrong_percent=100 * wrong / max(1, answered),
        late_percent=100 * sum(outcome.node in cheats for outcome in late) / max(1, len(late)),
    )


def scenario_of(case: Case) -> Scenario:
    """Return the shipped attack with these cheats alone."""
    shipped = load_scenario(SCENARIO)
    count = CHEATS[case.percent]
    rate = WORKERS * 60.0 if case.slow else 3600.0
    items = 4 if case.kind == "copied" else 1
    cheats = Group(
        count=count,
        role=case.kind,
        cheats_percent=case.cheats_percent,
        cheats_after=PROVEN_AFTER if case.patient else 0,
        serves=("reading",),
    )
    nodes = {
        "clients": replace(shipped.nodes["clients"], count=1, requests_per_hour=rate, items=items),
        "honest": replace(shipped.nodes["honest"], count=WORKERS - count),
        "cheats": cheats,
    }
    hours = 2.0 if case.slow else 0.5 if case.patient else 0.15
    return replace(shipped, hours=hours, nodes=nodes, node=replace(shipped.node, verify=case.mode))


def _busy_us(simulation: Simulation) -> dict[int, int]:
    busy: dict[int, int] = {}
    for (_, node, _), busy_us in simulation.swarm.work.busy_us.items():
        busy[node] = busy.get(node, 0) + busy_us
    return busy


def _each(simulation: Simulation, group: str, amounts: dict[int, int]) -> float:
    nodes = [node.index for node in simulation.swarm.nodes if node.group_name == group]
    return sum(amounts.get(index, 0) for index in nodes) / len(nodes) / 1e6
