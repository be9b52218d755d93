"""What the paper says emerges, as far as credit and this router carry it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from swarmharness.credit.admission import Rank
from swarmharness.credit.gate import Gate, Ticket
from swarmharness.identity import PeerId
from swarmharness.node.config_schema import Source
from swarmharness.simulation.load import Answered
from swarmharness.simulation.scenario import Scenario, load_scenario, parse_scenario
from swarmharness.simulation.simulate import Simulation, simulate
from swarmharness.simulation.summary import unmet

pytestmark = pytest.mark.timeout(600)  # a machine may be busy
ATTACK = Path(__file__).parents[3] / "configs" / "scenarios" / "attack-on-credit.toml"


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(ATTACK).scaled(nodes=40, hours=0.12)


@pytest.fixture(scope="module")
def attacked(scenario: Scenario) -> Simulation:
    simulation = simulate(scenario, 7)
    assert simulation.violations == ()
    assert unmet(simulation) == []
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


BACK_US = 3_800_000_000
IDLE = """version = 1
title = "idle nodes lose priority"
hours = 1.35
[network]
delay_ms = 5.0
[node]
refresh_s = 300.0
task_timeout_s = 300.0
horizon_hours = 1
stranger_budget_microcredits = 100_000_000_000
[skills.reading]
work_ms = 10_000.0
[skills.writing]
work_ms = 10_000.0
[nodes.others]
count = 2
serves = ["reading"]
skill = "writing"
requests_per_hour = 240
deadline_s = 600
[nodes.steady]
count = 2
serves = ["writing"]
skill = "reading"
requests_per_hour = 60
deadline_s = 600
[nodes.idle]
count = 2
serves = ["writing"]
skill = "reading"
serves_until_s = 2400
requests_per_hour = 60
deadline_s = 600
[nodes.strangers]
count = 2
skill = "reading"
requests_per_hour = 180
deadline_s = 600
[faults.idle]
kind = "stop"
groups = ["idle"]
percent = 100
at_s = 2400
for_s = 1300
"""


def test_idle_nodes_lose_priority(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two nodes stop working for others; when they are back, their credit has melted, and they wait with the strangers.

    Two others go on. Both ask equally much of servers that are busy for four fifths of the time.
    """
    ranks: list[tuple[PeerId, float, int]] = []
    decide = Gate.admit

    async def admit(self: Gate, requester: PeerId, price_microcredits: int) -> Ticket:
        ticket = await decide(self, requester, price_microcredits)
        ranks.append((requester, trio.current_time(), ticket.priority[0]))
        return ticket

    monkeypatch.setattr(Gate, "admit", admit)
    played = [simulate(parse_scenario(Source("idle.toml", IDLE)), seed) for seed in (1, 2)]
    assert [simulation.violations for simulation in played] == [(), ()]
    group_of = {peer: node.group_name for simulation in played for peer, node in simulation.swarm.by_peer.items()}

    def covered(group: str, from_s: int, until_s: int) -> float:
        """Return the share of a group's requests that were admitted for its credit."""
        found = [rank for peer, at_s, rank in ranks if group_of[peer] == group and from_s < at_s < until_s]
        assert len(found) > 20
        return sum(rank == Rank.COVERED for rank in found) / len(found)

    def wait_us(group: str) -> int:
        late = [
            one.latency_us
            for simulation in played
            for one in simulation.load.outcomes
            if one.group == group and one.at_us > BACK_US
        ]
        assert len(late) > 40
        return sum(late) // len(late)

    assert covered("idle", 600, 2400) > 0.7
    assert covered("steady", 600, 2400) > 0.7
    assert covered("idle", 3800, 6000) == 0
    assert covered("steady", 3800, 6000) > 0.7
    assert wait_us("idle") > 1.5 * wait_us("steady")
