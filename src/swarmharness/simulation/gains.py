"""Tells of cheats and of specialisation: who earned what, who got the work, and in which skill; it runs nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swarmharness.simulation.cheating import Cheat
from swarmharness.simulation.work import PARTS

if TYPE_CHECKING:
    from swarmharness.simulation.node import SimulatedNode
    from swarmharness.simulation.simulate import Simulation

LAST = range(2 * PARTS // 3, PARTS)
"""The parts of the time in which a swarm has settled."""


def is_cheat(role: str) -> bool:
    """Tell whether nodes of this role answer wrongly on purpose."""
    return role in list(Cheat)


def cheats_income_permille(simulation: Simulation) -> int | None:
    """Return what a cheat earned against an honest worker, for each slot and its speed; None if there are not both.

    What was voided was never settled, so it is in neither.
    """
    cheats = _income(simulation, lambda node: is_cheat(node.group.role))
    honest = _income(simulation, lambda node: node.honest and bool(node.group.serves))
    return None if cheats is None or not honest else 1000 * cheats // honest


def best_skill(simulation: Simulation, node: SimulatedNode) -> str:
    """Return the skill in which a second of the node's work pays most; empty if it has no choice."""
    skills = simulation.scenario.skills
    if len(node.group.serves) < 2 or not (node.proficiency_permille or _prices_differ(simulation)):
        return ""
    known = node.proficiency_permille
    return max(node.group.serves, key=lambda skill: known.get(skill, 1000) * skills[skill].price_percent)


def specialised_permille(simulation: Simulation, parts: range = LAST) -> tuple[int, int] | None:
    """Return how much of the honest nodes' work is in the skill that pays each of them most, and how much would be if
    each node took of every skill what the swarm does; None if no node has a choice or did anything.

    Work is what an item would take on a reference core.
    """
    nodes = {node.index: best_skill(simulation, node) for node in simulation.swarm.nodes if node.honest}
    done: Counter[tuple[int, str]] = Counter()
    for (part, index, skill), items in simulation.swarm.work.items.items():
        if part in parts and nodes.get(index):
            done[index, skill] += items * round(1000 * simulation.scenario.skills[skill].work_ms)
    total = done.total()
    if not total:
        return None
    by_node, by_skill = Counter[int](), Counter[str]()
    for (index, skill), work in done.items():
        by_node[index] += work
        by_skill[skill] += work
    best = sum(work for (index, skill), work in done.items() if nodes[index] == skill)
    even = sum(work * by_skill[nodes[index]] for index, work in by_node.items()) // total
    return 1000 * best // total, 1000 * even // total


def over_time(simulation: Simulation) -> dict[str, Any]:
    """Return who answered, by kind of worker, and how far the nodes have specialised, in each part of the time."""
    found: dict[str, Any] = {}
    groups = simulation.scenario.nodes
    if any(is_cheat(group.role) for group in groups.values()):
        workers = [name for name, group in groups.items() if group.serves]
        answered = {name: [0] * PARTS for name in workers}
        total_us = simulation.swarm.work.total_us
        for outcome in simulation.load.outcomes:
            name = simulation.swarm.nodes[outcome.node].group_name if outcome.node >= 0 else ""
            if name in answered:
                answered[name][min(PARTS - 1, outcome.at_us * PARTS // total_us)] += 1
        found["answered_by"] = answered
    special = [specialised_permille(simulation, range(part, part + 1)) for part in range(PARTS)]
    if any(special):
        found["specialised_permille"] = [None if pair is None else pair[0] for pair in special]
        found["even_permille"] = [None if pair is None else pair[1] for pair in special]
    return found


def _income(simulation: Simulation, counts: Callable[[SimulatedNode], bool]) -> int | None:
    nodes = [node for node in simulation.swarm.nodes if counts(node)]
    capacity = sum(node.speed_permille * node.group.slots for node in nodes)
    earned = sum(simulation.swarm.checks.earned.get(node.index, 0) for node in nodes)
    return 1000 * earned // capacity if capacity else None


def _prices_differ(simulation: Simulation) -> bool:
    return len({skill.price_percent for skill in simulation.scenario.skills.values()}) > 1
