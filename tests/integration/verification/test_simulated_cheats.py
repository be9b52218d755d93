from __future__ import annotations

import pytest

from swarmharness.simulation.fixture import simulated_swarm

SCENARIO = """
version = 1
title = "cheats"
hours = 0.005

[skills.think]
work_ms = 20.0

[node]
verify = "{verify}"
stranger_budget_microcredits = 1_000_000_000_000

[nodes.clients]
count = 3
requests_per_hour = 4000.0
items = 4
deadline_s = 20.0

[nodes.workers]
count = 8
serves = ["think"]

[nodes.cheats]
count = {cheats}
role = "{role}"
serves = ["think"]
"""


def right_share(role: str, verify: str, cheats: int = 1) -> float:
    simulation = simulated_swarm(SCENARIO.format(role=role, verify=verify, cheats=cheats), seed=1)
    answered = [outcome for outcome in simulation.load.outcomes if outcome.answered]
    assert len(answered) > 30
    return sum(outcome.right for outcome in answered) / len(answered)


@pytest.mark.parametrize("role", ["noise", "stale", "copied", "lazy", "wrong"])
def test_in_a_whole_swarm_no_cheat_that_acts_alone_gets_a_wrong_answer_past_always(role: str) -> None:
    assert right_share(role, "always") == 1


def test_what_is_not_checked_is_believed() -> None:
    assert right_share("noise", "none", cheats=3) < 1


@pytest.mark.parametrize("role", ["noise", "wrong"])
def test_nor_do_several_whose_wrong_answers_differ(role: str) -> None:
    assert right_share(role, "always", cheats=3) == 1
