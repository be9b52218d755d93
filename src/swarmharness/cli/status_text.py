"""What a person is shown of a node's status: sentences for figures, and few names of what others chose; no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swarmharness.node.attack_lines import attack_lines

NAMES_SHOWN = 8
REFUSALS_SHOWN = 5


def status_for_people(status: dict[str, Any]) -> dict[str, Any]:
    """Return what a person wants of a status: sentences by what they are about, and no figures behind them."""
    registry = status["registry"]
    clocks = registry["clocks"]
    refusals = [f"{one['reason']}, {one['count']} times: {one['text']}" for one in status["refusals"]]
    return {
        **status,
        "work": {skill: work["text"] for skill, work in status["work"].items()},
        "set_aside": {one["file"]: f"{one['holds']}; {one['advice']}" for one in status["set_aside"]},
        "connections": _connections_text(status["connections"]),
        "registry": {
            **registry,
            "skills": few(registry["skills"]),
            "clocks": {**clocks, "ahead_s": few(clocks["ahead_s"])},
            "problems": {one["subject"]: one["text"] for one in registry["problems"]},
        },
        "attacks": attack_lines(status.get("attacks", ())),  # a node of an older version tells none
        "refusals": refusals[:REFUSALS_SHOWN] + _and_more(len(refusals) - REFUSALS_SHOWN),
    }


def few(numbers: Mapping[str, int]) -> str:
    """Return the names of the greatest numbers with these, and how many more there are."""
    greatest = sorted(numbers.items(), key=lambda item: (-abs(item[1]), item[0]))
    shown = [f"{name} ({number:,})" for name, number in greatest[:NAMES_SHOWN]]
    return ", ".join(shown + _and_more(len(greatest) - NAMES_SHOWN)) or "-"


def _and_more(count: int) -> list[str]:
    return [f"and {count:,} more: --json has them"] if count > 0 else []


def _connections_text(connections: Mapping[str, Any]) -> str:
    """Say how many there are, and how many were refused or dropped for which reason."""
    dropped = {name.removeprefix("connection: "): count for name, count in connections["dropped"].items()}
    stages = [f"{count} {stage.replace('_', '-')}" for stage, count in connections.items() if stage != "dropped"]
    reasons = ", ".join(f"{count} for {name}" for name, count in dropped.items())
    return ", ".join(stages) + (f"; refused or dropped: {reasons}" if reasons else "")
