"""What the paper says emerges, as far as credit and this router carry it."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.simulation.load import Answered
from swarmharness.simulation.scenario import Scenario, load_scenario
from swarmharness.simulation.simulate import Simulation, simulate

ATTACK = Path(__file__).parents[3] / "configs" / "scenarios" / "attack-on-credit.toml"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(ATTACK).scaled(nodes=40, hours=0.2)


@pytest.fixture(scope="module")
def attacked(scenario: Scenario) -> Simulation:
    simulation = simulate(scenario, 7)
    assert simulation.violations == ()
    return simulation


def share(simulation: Simulation, group: str) -> float:
    outcomes: list[Answered] = [outcome for outcome in simulation.load.outcomes if outcome.group == group]
    assert len(outcomes) > 10
    return sum(outcome.answered for outcome in outcomes) / len(outcomes)


def test_honest_nodes_hardly_notice(attacked: Simulation) -> None:
    assert share(attacked, "honest") >= 0.95


def test_honest_newcomers_get_in(attacked: Simulation) -> None:
    assert share(attacked, "newcomers") >= 0.9


def test_free_riders_starve_and_many_identities_together_get_no_more_than_one(
    attacked: Simulation, scenario: Scenario
) -> None:
    assert share(attacked, "sybils") < 0.5 * share(attacked, "honest")
    price = round(scenario.skills["text-embedding"].work_ms * 1000)
    taken = price * sum(outcome.answered for outcome in attacked.load.outcomes if outcome.group == "sybils")
    servers = sum(group.count for group in scenario.nodes.values() if group.serves)
    epochs = 1  # a simulation starts with an epoch
    assert taken <= servers * scenario.node.stranger_budget_microcredits * epochs


def test_credit_is_conserved_between_kinds_of_nodes(attacked: Simulation) -> None:
    checks = attacked.swarm.checks
    assert sum(checks.earned.values()) == sum(checks.spent.values()) == checks.moved_microcredits > 0
