"""What random scenarios are made of, without running one."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import fields
from itertools import pairwise
from typing import Any

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.node.config_schema import Source, default_of
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation import random_menus as menus
from swarmharness.simulation.random_scenario import NODES_MAX, NUMBER_MAX, _Maker, random_scenario
from swarmharness.simulation.scenario import (
    FAULTS,
    ROLES,
    Expectation,
    Fault,
    Group,
    NetworkModel,
    NodeModel,
    Scenario,
    SkillModel,
    parse_scenario,
)
from swarmharness.simulation.scenario_text import scenario_text

FIRST = [random_scenario(number) for number in range(1, 501)]
TABLES = [
    (NetworkModel, menus.NETWORK),
    (NodeModel, menus.NODE),
    (SkillModel, menus.SKILL),
    (Group, menus.GROUP),
    (Fault, menus.FAULT),
    (Expectation, {}),
]


def tables_of(scenario: Scenario) -> list[Any]:
    named = (scenario.skills, scenario.nodes, scenario.faults)
    return [scenario.network, scenario.node, scenario.expect, *(table for some in named for table in some.values())]


@pytest.mark.parametrize(("model", "menu"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_setting_has_a_menu_or_a_reason(model: type[Any], menu: menus.Menu) -> None:
    """A new key of a scenario fails here until `random_menus` says what is tried of it."""
    name = model.__name__
    elsewhere = menus.DRAWN.get(name, frozenset()) | menus.NOT_VARIED.get(name, frozenset())
    assert {item.name for item in fields(model)} == set(menu) | elsewhere
    assert not set(menu) & elsewhere


def test_every_fault_has_amounts_and_every_role_is_known() -> None:
    assert set(menus.AMOUNTS) == set(FAULTS) - {"move"}  # it came later, and numbers keep their scenarios
    assert set(ROLES) >= menus.SERVES | menus.ASKS


def test_five_hundred_numbers_have_every_role_every_fault_and_every_value_of_every_menu() -> None:
    assert {group.role for scenario in FIRST for group in scenario.nodes.values()} == set(ROLES)
    faults = [fault for scenario in FIRST for fault in scenario.faults.values()]
    assert {(fault.kind, fault.amount) for fault in faults} >= {
        (kind, amount) for kind, amounts in menus.AMOUNTS.items() for amount in amounts
    }
    assert {len(scenario.faults) for scenario in FIRST} == {1, 2, 3, 4, 5}
    seen = {
        (type(table), item.name, getattr(table, item.name))
        for scenario in FIRST
        for table in tables_of(scenario)
        for item in fields(table)
    }
    for model, menu in TABLES:
        for name, values in menu.items():
            lacking = [value for value in values if (model, name, value) not in seen]
            assert not lacking, f"{model.__name__}.{name}"


def test_the_routing_policy_is_varied_in_every_key() -> None:
    usual = RoutingPolicy()
    varied = {
        name
        for number in range(1, 3000)
        for name, value in _Maker(number)._policy().as_mapping().items()
        if value != getattr(usual, name)
    }
    assert varied == set(usual.as_mapping())


def test_no_value_of_a_menu_is_the_default() -> None:
    for model, menu in TABLES:
        for item in fields(model):
            assert default_of(item) not in menu.get(item.name, ())


def test_a_scenario_is_small_and_valid_and_somebody_asks_and_serves() -> None:
    for scenario in FIRST:
        assert 2 <= scenario.count <= NODES_MAX
        assert any(group.requests_per_hour for group in scenario.nodes.values())
        assert any(group.serves and group.role == "honest" for group in scenario.nodes.values())
        assert parse_scenario(Source("again", scenario_text(scenario))) == scenario


def test_faults_overlap() -> None:
    overlapping: Counter[bool] = Counter()
    for scenario in FIRST:
        spans = sorted((fault.at_s, fault.at_s + fault.for_s) for fault in scenario.faults.values())
        if len(spans) > 1:
            overlapping[any(later[0] <= earlier[1] for earlier, later in pairwise(spans))] += 1
    assert overlapping[True] > 2 * overlapping[False]


def test_one_number_is_one_scenario_on_every_python() -> None:
    """The digest was made with Python 3.11; it changes only with the menus or the generator."""
    text = "".join(scenario_text(scenario) for scenario in FIRST)
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "41e7b4d462ea7526"
    assert len({scenario_text(scenario).partition("hours")[2] for scenario in FIRST}) == len(FIRST)


@pytest.mark.parametrize("number", [-1, NUMBER_MAX + 1])
def test_a_number_beyond_the_limit_is_refused(number: int) -> None:
    with pytest.raises(ConfigurationError, match="--random"):
        random_scenario(number)
