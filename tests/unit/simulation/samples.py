"""A small scenario for tests."""

from __future__ import annotations

from swarmharness.node.config_schema import Source
from swarmharness.simulation.scenario import Scenario, parse_scenario

SMALL = """version = 1
title = "small"
hours = 0.05

[network]
delay_ms = 5.0

[skills.echo]
work_ms = 20.0
[nodes.workers]
count = 6
serves = ["echo"]

[nodes.clients]
count = 2
requests_per_hour = 1200
"""


def small(extra: str = "", **changes: str) -> Scenario:
    """Return the small scenario with more text at its end, and with some of its lines replaced by key."""
    lines = [
        next((f"{key} = {value}" for key, value in changes.items() if line.startswith(f"{key} =")), line)
        for line in SMALL.splitlines()
    ]
    return parse_scenario(Source("small.toml", "\n".join(lines) + "\n" + extra))
