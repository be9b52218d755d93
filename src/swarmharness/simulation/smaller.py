"""What can be left out of a scenario, or be made less, each as one edit; it runs nothing and knows no failure.

`[expect]` stays as it is: it says what the scenario promises, and another promise is another failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import Any

from swarmharness.node.config_schema import default_of
from swarmharness.simulation.scenario import Fault, Group, Scenario

Edit = Callable[[Scenario], Scenario]
"""Returns another scenario, or an equal one where there is nothing to do; it may be applied again."""

HOURS_MIN = 0.0056
"""Twenty seconds."""
_PLAIN = ("network", "node", "routing")
_KEPT = {"faults": {"kind", "at_s"}, "nodes": {"count", "serves", "requests_per_hour"}, "skills": set[str]()}
"""Keys whose default would be another thing, or which have edits of their own."""


def edits(scenario: Scenario) -> Iterator[Edit]:
    """Yield every edit of this scenario; those come first that make all later tries quicker."""
    names = list(scenario.faults)
    if len(names) > 2:
        yield partial(_without_faults, names=names[: len(names) // 2])
        yield partial(_without_faults, names=names[len(names) // 2 :])
    yield from (partial(_without_faults, names=[name]) for name in names)
    yield from (partial(_without_group, name=name) for name in scenario.nodes)
    yield from (partial(_shorter, share=share) for share in (0.5, 0.8))
    for name in scenario.nodes:
        yield _of_group(name, lambda group: replace(group, count=(group.count + 1) // 2))
        yield _of_group(name, lambda group: replace(group, count=max(1, group.count - 1)))
        yield _of_group(name, lambda group: replace(group, requests_per_hour=0.0, skill=""))
        yield _of_group(name, lambda group: replace(group, requests_per_hour=float(round(group.requests_per_hour / 2))))
        yield _of_group(name, lambda group: replace(group, serves=()))
        yield _of_group(name, lambda group: replace(group, serves=group.serves[1:]))
    yield from (partial(_without_skill, name=name) for name in scenario.skills)
    yield from _defaults(scenario)
    for name in scenario.faults:
        yield _of_fault(name, lambda fault: replace(fault, amount=int(fault.amount / 2)))
        yield _of_fault(name, lambda fault: replace(fault, for_s=float(round(fault.for_s / 2))))
        yield _of_fault(name, lambda fault: replace(fault, at_s=float(round(fault.at_s / 2))))


def _defaults(scenario: Scenario) -> Iterator[Edit]:
    """Yield edits that give keys their default: all keys of a table at once, then one by one."""
    for section in _PLAIN:
        keys = _changed(getattr(scenario, section))
        yield from (partial(_usual_section, section=section, keys=some) for some in (keys, *([key] for key in keys)))
    for section, kept in _KEPT.items():
        for name, table in getattr(scenario, section).items():
            keys = [key for key in _changed(table) if key not in kept]
            for some in (keys, *([key] for key in keys)):
                yield _of_table(section, name, partial(_usual, keys=some))


def _changed(table: Any) -> list[str]:
    """Return the keys of a table that do not have their default."""
    return [declared.name for declared in fields(table) if getattr(table, declared.name) != default_of(declared)]


def _usual(table: Any, keys: list[str]) -> Any:
    return replace(table, **{item.name: default_of(item) for item in fields(table) if item.name in keys})


def _usual_section(scenario: Scenario, section: str, keys: list[str]) -> Scenario:
    values: dict[str, Any] = {section: _usual(getattr(scenario, section), keys)}
    return replace(scenario, **values)


def _of_table(section: str, name: str, edit: Callable[[Any], Any]) -> Edit:
    """Return the edit of one named table, which may be gone when it is applied."""

    def applied(scenario: Scenario) -> Scenario:
        tables = getattr(scenario, section)
        values: dict[str, Any] = {section: {**tables, name: edit(tables[name])}} if name in tables else {}
        return replace(scenario, **values)

    return applied


def _of_group(name: str, edit: Callable[[Group], Group]) -> Edit:
    return _of_table("nodes", name, edit)


def _of_fault(name: str, edit: Callable[[Fault], Fault]) -> Edit:
    return _of_table("faults", name, edit)


def _shorter(scenario: Scenario, share: float) -> Scenario:
    return replace(scenario, hours=min(scenario.hours, max(HOURS_MIN, round(scenario.hours * share, 4))))


def _without_faults(scenario: Scenario, names: list[str]) -> Scenario:
    return replace(scenario, faults={name: fault for name, fault in scenario.faults.items() if name not in names})


def _without_group(scenario: Scenario, name: str) -> Scenario:
    """Leave a group out, and the faults that strike nobody else."""
    nodes = {other: group for other, group in scenario.nodes.items() if other != name}
    if not any(group.count for group in nodes.values()):
        return scenario
    faults = {
        title: replace(fault, groups=tuple(other for other in fault.groups if other != name))
        for title, fault in scenario.faults.items()
        if fault.groups != (name,)
    }
    return replace(scenario, nodes=nodes, faults=faults)


def _without_skill(scenario: Scenario, name: str) -> Scenario:
    skills = {other: skill for other, skill in scenario.skills.items() if other != name}
    if not skills:
        return scenario
    nodes = {
        title: replace(
            group,
            serves=tuple(skill for skill in group.serves if skill != name),
            skill="" if group.skill == name else group.skill,
        )
        for title, group in scenario.nodes.items()
    }
    return replace(scenario, skills=skills, nodes=nodes)
