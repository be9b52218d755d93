"""Writes a scenario back as TOML, so that a failing one can be kept; reading it again gives an equal scenario."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.scenario import VERSION, Scenario


def scenario_text(scenario: Scenario) -> str:
    """Return the scenario as TOML; keys that have their default are left out, and tables of nothing else."""
    parts = [
        f"version = {VERSION}",
        f"title = {_value(scenario.title)}",
        *([f"shows = {_value(scenario.shows)}"] if scenario.shows else []),
        f"hours = {_value(scenario.hours)}",
        *_plain("network", scenario.network),
        *_plain("node", scenario.node),
        *_plain("expect", scenario.expect),
        *_policy(scenario.routing),
        *_tables("skills", scenario.skills),
        *_tables("nodes", scenario.nodes),
        *_tables("faults", scenario.faults),
    ]
    return "\n".join(parts) + "\n"


def _plain(header: str, value: Any) -> list[str]:
    lines = _table(header, value)
    return ["", *lines] if lines[1:] else []


def _tables(section: str, tables: Mapping[str, Any]) -> list[str]:
    return [line for name, value in tables.items() for line in ("", *_table(f"{section}.{_key(name)}", value))]


def _table(header: str, value: Any) -> list[str]:
    lines = [
        f"{item.name} = {_value(getattr(value, item.name))}"
        for item in fields(value)
        if getattr(value, item.name) != item.default
    ]
    return [f"[{header}]", *lines]


def _policy(policy: RoutingPolicy) -> list[str]:
    default = RoutingPolicy().as_mapping()
    changed = {name: value for name, value in policy.as_mapping().items() if value != default[name]}
    return ["", "[routing]", *(f"{name} = {_value(value)}" for name, value in changed.items())] if changed else []


def _value(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)
