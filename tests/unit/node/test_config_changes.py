from __future__ import annotations

from dataclasses import replace

from swarmharness.node.config import Config
from swarmharness.node.config_changes import InForce, changes, flat


def test_every_key_is_named_with_its_table() -> None:
    values = flat(Config())
    assert values["jobs.deadline_s"] == 3600.0
    assert values["network.allow"] == []
    assert any(name.startswith("routing.") for name in values)
    assert changes(Config(), Config()) == []


def test_what_is_read_live_is_told_from_what_waits_for_a_restart() -> None:
    before = Config()
    after = replace(
        before,
        jobs=replace(before.jobs, deadline_s=60.0),
        network=replace(before.network, deny=("12D3KooW",), heartbeat_s=1.0),
        trace=replace(before.trace, max_mib=3),
        credit=replace(before.credit, price_factor=2.0, stranger_budget_microcredits=5),
    )
    found = {change.name: (change.before, change.after, change.live) for change in changes(before, after)}
    assert found == {
        "network.deny": ([], ["12D3KooW"], True),
        "network.heartbeat_s": (3.0, 1.0, False),
        "credit.price_factor": (1.0, 2.0, False),
        "credit.stranger_budget_microcredits": (before.credit.stranger_budget_microcredits, 5, True),
        "jobs.deadline_s": (3600.0, 60.0, False),
        "trace.max_mib": (before.trace.max_mib, 3, True),
    }


def test_a_node_goes_by_what_it_began_with_and_by_what_is_live() -> None:
    started = Config()
    in_force = InForce(started)
    in_force.changed(
        replace(started, jobs=replace(started.jobs, deadline_s=60.0), owner=replace(started.owner, drain_s=1.0))
    )
    values = in_force.values()
    assert values["jobs.deadline_s"] == 3600.0
    assert values["owner.drain_s"] == 1.0
