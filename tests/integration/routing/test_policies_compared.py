"""A small swarm with uneven nodes, failures and slow-downs under several routers, on the simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import pytest

from swarmharness.simulation.scenario import Group, Scenario, load_scenario
from swarmharness.simulation.simulate import Simulation, simulate
from swarmharness.simulation.summary import latencies

SCENARIO = Path(__file__).parents[3] / "configs" / "scenarios" / "routing-50.toml"
WARM_UP_US = 36_000_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the clients saw once they knew the swarm."""

    p99_us: int
    good_permille: int
    simulation: Simulation


def small(router: str, *, liars: bool = False) -> Scenario:
    """Return a fifth of the scenario: nine workers and three clients, at about 0.7 of the capacity."""
    scenario = load_scenario(SCENARIO)
    workers: dict[str, Group] = {
        name: replace(group, count=3) for name, group in scenario.nodes.items() if name != "clients"
    }
    if liars:
        workers["two"] = replace(workers["two"], role="load-liar")
    clients = replace(scenario.nodes["clients"], count=3, requests_per_hour=75_000, starts_s=30)
    node = replace(scenario.node, router=router)
    return replace(scenario, hours=48 / 3600, node=node, nodes={"clients": clients, **workers})


def play(router: str, *, liars: bool = False) -> Waiting:
    simulation = simulate(small(router, liars=liars), 1)
    assert not simulation.violations
    counted = [outcome for outcome in simulation.load.outcomes if outcome.at_us >= WARM_UP_US]
    good = sum(outcome.answered and outcome.latency_us <= 2_000_000 for outcome in counted)
    return Waiting(latencies(counted).p99_us, 1000 * good // len(counted), simulation)


@pytest.fixture(scope="module")
def ours() -> Waiting:
    return play("utility")


@pytest.mark.parametrize("rival", ["least-outstanding", "random"])
def test_the_utility_waits_clearly_less_than_simple_policies(ours: Waiting, rival: str) -> None:
    theirs = play(rival)
    assert ours.p99_us < 0.75 * theirs.p99_us
    assert ours.good_permille > theirs.good_permille


def test_a_request_costs_at_most_three_probes_and_few_second_copies(ours: Waiting) -> None:
    load = ours.simulation.load
    assert 0 < sum(load.probes.values()) <= 3 * load.requests * 1.05  # retries and second copies probe, too
    assert sum(load.hedges.values()) <= 0.05 * load.requests + 3


def test_liars_about_their_load_are_found_out_and_get_less() -> None:
    simulation = play("utility", liars=True).simulation
    candour: dict[bool, list[int]] = {True: [], False: []}
    lying = {node.peer_id for node in simulation.swarm.nodes if node.group.role == "load-liar"}
    for client in (node for node in simulation.swarm.nodes if node.group_name == "clients"):
        assert client.ended is not None
        for (peer, _), record in client.ended.router._records._records.items():
            if record.estimate.answers >= 20:
                candour[peer in lying].append(record.estimate.candour_micro)
    assert candour[True]
    assert candour[False]
    # On average: a liar that seldom has a queue has seldom anything to hide.
    assert mean(candour[True]) < median(candour[False])
