"""The fixed seeds that every run of the tests plays, and what random scenarios found (see `test_random`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.simulation.scenario import load_scenario
from swarmharness.simulation.simulate import simulate
from swarmharness.simulation.summary import unmet

pytestmark = pytest.mark.timeout(600)  # a machine may be busy
SCENARIOS = Path(__file__).parents[3] / "configs" / "scenarios"
REGRESSIONS = Path(__file__).parent / "regressions"

# `attack-on-credit` is played by test_claims.py.
SEEDS = [
    ("home", None, 0.3, 1),
    ("office", None, 0.25, 2),
    ("campus-200", 40, 0.25, 3),
    ("internet-1000", 40, 0.12, 4),
    ("flash-crowd", 20, 0.12, 6),
    ("disks", None, 0.15, 2),
]


@pytest.mark.parametrize(("name", "nodes", "hours", "seed"), SEEDS, ids=[row[0] for row in SEEDS])
def test_a_shipped_scenario_keeps_its_promises(name: str, nodes: int | None, hours: float, seed: int) -> None:
    simulation = simulate(load_scenario(SCENARIOS / f"{name}.toml").scaled(nodes=nodes, hours=hours), seed)
    assert simulation.violations == ()
    assert unmet(simulation) == []


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.toml")), ids=lambda path: path.stem)
def test_what_failed_once_fails_no_more(path: Path) -> None:
    """`NAME-seed-N.toml`: a scenario that broke an invariant once, with the seed under which it did."""
    simulation = simulate(load_scenario(path), int(path.stem.rpartition("-")[2]))
    assert simulation.violations == ()
