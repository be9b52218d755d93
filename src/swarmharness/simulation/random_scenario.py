"""Makes a small scenario from a number: groups, roles, overlapping faults, network and settings; it runs nothing.

Equal numbers give equal scenarios on every machine and Python. Each value is drawn from a stream of its own, named by
the number and the value's place, so that a new setting leaves all others as they were (a new role, kind of fault or key
of the routing policy does not).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from swarmharness.errors import ConfigurationError
from swarmharness.routing.policy import FORMS, RoutingPolicy
from swarmharness.simulation.cheating import Cheat
from swarmharness.simulation.random_menus import (
    AMOUNTS,
    ASKS,
    FAULT,
    GROUP,
    MINUTES,
    NETWORK,
    NODE,
    REQUESTS,
    SERVES,
    SKILL,
    SKILLS,
    Menu,
)
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import (
    ROLES,
    Expectation,
    Fault,
    Group,
    NetworkModel,
    NodeModel,
    Scenario,
    SkillModel,
)

NUMBER_MAX = 2**63 - 1
NODES_MAX = 12
GROUPS_MAX = 4
FAULTS_MAX = 5
STORM_S = 400
"""Faults begin within this time, so that a long scenario ends in peace."""
CONVERGES_REFRESHES = 15
"""R-3 is stated as 900 s for a refresh period of 60 s; a slower registry has its time in proportion."""
_HONEST_GROUP = {name: values for name, values in GROUP.items() if not name.startswith("cheats_")}


def random_scenario(number: int) -> Scenario:
    """Return the scenario of a number: at most 12 nodes, and seconds of processor time."""
    if not 0 <= number <= NUMBER_MAX:
        raise ConfigurationError(f"--random is {number}; allowed is 0 to {NUMBER_MAX}")
    return _Maker(number).scenario()


class _Maker:
    """Draws the values of one scenario."""

    def __init__(self, number: int) -> None:
        self._number = number

    def scenario(self) -> Scenario:
        minutes = self._one("minutes", MINUTES)
        skills = {name: self._skill(name) for name in SKILLS[: 1 + self._below("skills", len(SKILLS))]}
        nodes = self._groups(tuple(skills), minutes)
        node = NodeModel(**self._some("node", NODE, 250))
        return Scenario(
            title=f"random {self._number}",
            shows="",
            hours=round(minutes / 60, 4),
            network=NetworkModel(**self._some("network", NETWORK, 250)),
            node=node,
            routing=self._policy(),
            expect=Expectation(converges_s=max(Expectation().converges_s, round(CONVERGES_REFRESHES * node.refresh_s))),
            skills=skills,
            nodes=nodes,
            faults=self._faults(tuple(nodes), minutes),
        )

    # -- tables ---------------------------------------------------------------------------------------------------

    def _skill(self, name: str) -> SkillModel:
        return SkillModel(**self._some(f"skill {name}", SKILL, 300))

    def _policy(self) -> RoutingPolicy:
        """Return the policy with up to three keys at an edge, or far from the default."""
        policy = RoutingPolicy()
        if self._chance("routing", 700):
            return policy
        names = [declared.name for declared in fields(policy)]
        for position in range(1 + self._below("routing/count", 3)):
            name = names[self._below(f"routing/{position}", len(names))]
            policy = _changed(policy, name, self._below(f"routing/{position}/value", 4))
        return policy

    def _groups(self, skills: tuple[str, ...], minutes: int) -> dict[str, Group]:
        """Return one to four groups with 2 to 12 nodes; the first is honest, and somebody asks and serves."""
        count = 1 + self._below("groups", GROUPS_MAX)
        left = max(count, 2 + self._below("nodes", NODES_MAX - 1))
        asking: list[str] = []
        groups: dict[str, Group] = {}
        for position in range(count):
            place = f"group {position}"
            role = "honest" if not position or self._chance(f"{place}/role", 500) else self._role(place)
            name = _unused(role, groups)
            last = position == count - 1
            members = left if last else 1 + self._below(f"{place}/count", left - (count - 1 - position))
            left -= members
            serves, asks = self._serves(place, role, skills), self._asks(place, role)
            if not position and not serves:
                serves = skills
            if last and not asking:
                asks = True
            if asks:
                asking.append(name)
            varied = self._some(place, GROUP if role in list(Cheat) else _HONEST_GROUP, 130)
            group = Group(count=members, role=role, serves=serves, **varied)
            groups[name] = replace(
                group,
                skill=self._one(f"{place}/skill", ("", *skills)) if asks else "",
                starts_s=min(group.starts_s, 15.0 * minutes),
            )
        return self._with_requests(groups, asking, minutes)

    def _role(self, place: str) -> str:
        return str(self._one(f"{place}/which role", ROLES[1:]))

    def _serves(self, place: str, role: str, skills: tuple[str, ...]) -> tuple[str, ...]:
        chosen = tuple(skill for skill in skills if self._chance(f"{place}/serves {skill}", 700))
        return chosen or (skills[:1] if role in SERVES else ())

    def _asks(self, place: str, role: str) -> bool:
        return role in ASKS or self._chance(f"{place}/asks", 600)

    def _with_requests(self, groups: dict[str, Group], asking: list[str], minutes: int) -> dict[str, Group]:
        """Share the scenario's requests among all nodes that ask, so that many make no more of them than few."""
        requests = self._one("requests", REQUESTS)
        nodes = sum(groups[name].count for name in asking)
        per_hour = float(round(requests * 60 / minutes / nodes))
        return {
            name: replace(group, requests_per_hour=per_hour) if name in asking else group
            for name, group in groups.items()
        }

    def _faults(self, groups: tuple[str, ...], minutes: int) -> dict[str, Fault]:
        """Return one to five faults; most of them begin while an earlier one lasts."""
        storm_s = min(STORM_S, 60 * minutes * 3 // 4)
        faults: dict[str, Fault] = {}
        for position in range(1 + self._below("faults", FAULTS_MAX)):
            place = f"fault {position}"
            kind = self._one(place, tuple(AMOUNTS))
            at_s = 20.0 + self._below(f"{place}/at", storm_s - 20)
            if faults and self._chance(f"{place}/overlaps", 700):
                earlier = list(faults.values())[self._below(f"{place}/with", len(faults))]
                at_s = earlier.at_s + self._below(f"{place}/after", 1 + round(min(earlier.for_s, 60.0)))
            faults[_unused(kind, faults)] = Fault(
                kind=kind,
                at_s=at_s,
                groups=self._struck(place, groups),
                amount=self._one(f"{place}/amount", AMOUNTS[kind]),
                **self._some(place, FAULT, 800),
            )
        return faults

    def _struck(self, place: str, groups: tuple[str, ...]) -> tuple[str, ...]:
        if self._chance(f"{place}/all", 600):
            return ()
        chosen = tuple(name for name in groups if self._chance(f"{place}/strikes {name}", 500))
        return () if chosen == groups else chosen

    # -- drawing --------------------------------------------------------------------------------------------------

    def _below(self, place: str, limit: int) -> int:
        return SeededRandomness(f"random scenario {self._number}/{place}").below(limit)

    def _chance(self, place: str, permille: int) -> bool:
        return self._below(f"{place}?", 1000) < permille

    def _one(self, place: str, values: tuple[Any, ...]) -> Any:
        return values[self._below(place, len(values))]

    def _some(self, place: str, menu: Menu, permille: int) -> dict[str, Any]:
        """Return a value for each key that is varied; each is, with this chance."""
        return {
            name: self._one(f"{place}/{name}", values)
            for name, values in menu.items()
            if self._chance(f"{place}/{name}", permille)
        }


def _unused(name: str, taken: Mapping[str, object]) -> str:
    numbered = (name if number == 1 else f"{name}-{number}" for number in range(1, len(taken) + 2))
    return next(one for one in numbered if one not in taken)


def _changed(policy: RoutingPolicy, name: str, which: int) -> RoutingPolicy:
    """Return the policy with one key at its least or most, or at a quarter or four times its default."""
    if name == "form":
        return replace(policy, form=FORMS[which % len(FORMS)])
    declared = next(item for item in fields(policy) if item.name == name)
    least, most = declared.metadata["least"], declared.metadata["most"]
    usual = getattr(policy, name)
    value = min(most, max(least, (least, usual / 4, usual * 4, most)[which]))
    values: dict[str, Any] = {name: round(value) if declared.type == "int" else float(value)}
    if name == "breaker_backoff_ms":
        values["breaker_backoff_max_ms"] = max(value, policy.breaker_backoff_max_ms)
    elif name == "breaker_backoff_max_ms":
        values["breaker_backoff_ms"] = min(value, policy.breaker_backoff_ms)
    return replace(policy, **values)
