from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.node.config_schema import Source
from swarmharness.simulation.scenario import Scenario, load_scenario, parse_scenario
from tests.unit.simulation.samples import SMALL

SHIPPED = sorted((Path(__file__).parents[3] / "configs" / "scenarios").glob("*.toml"))


def parse(text: str) -> Scenario:
    return parse_scenario(Source("s.toml", text))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_and_says_what_it_shows(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.title
    assert len(scenario.shows) > 80


def test_the_scenarios_that_were_promised_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} >= {
        "home",
        "office",
        "campus-200",
        "internet-1000",
        "internet-10000",
        "attack-on-credit",
        "flash-crowd",
        "disks",
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("count = 6", "cuont = 6"), "s.toml:11: .*cuont is not a known key; did you mean count"),
        (("[network]", "[netwrok]"), "s.toml:.*netwrok is not a known key; did you mean network"),
        (('serves = ["echo"]', 'serves = ["ehco"]'), 'names "ehco"; did you mean echo'),
        (("count = 6", 'role = "wicked"'), 'is "wicked"; allowed is one of "honest"'),
        (("hours = 0.05", "hours = 0"), "allowed is 0.001 to 720"),
        (("version = 1", "version = 2"), "version = 1"),
        (("[skills.echo]\nwork_ms = 20.0", ""), "is missing"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_what_is_allowed(change: tuple[str, str], complaint: str) -> None:
    assert change[0] in SMALL
    with pytest.raises(ConfigurationError, match=complaint):
        parse(SMALL.replace(*change))


def test_a_fault_names_only_groups_that_exist() -> None:
    with pytest.raises(ConfigurationError, match='names "wrokers"; did you mean workers'):
        parse(SMALL + '\n[faults.x]\nkind = "crash"\ngroups = ["wrokers"]\n')


def test_scaling_keeps_shares_of_groups_and_places_of_faults() -> None:
    scenario = parse(SMALL + '\n[faults.x]\nkind = "crash"\nat_s = 60\nfor_s = 30\n')
    scaled = scenario.scaled(nodes=40, hours=0.1)
    assert {name: group.count for name, group in scaled.nodes.items()} == {"workers": 30, "clients": 10}
    assert (scaled.faults["x"].at_s, scaled.faults["x"].for_s) == (120, 60)
    assert scaled.hours == 0.1


def test_a_scale_that_is_none_is_refused() -> None:
    for nodes, hours in ((0, None), (None, -1.0)):
        with pytest.raises(ConfigurationError):
            parse(SMALL).scaled(nodes=nodes, hours=hours)
