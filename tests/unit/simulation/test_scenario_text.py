from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from swarmharness.node.config_schema import Source
from swarmharness.simulation.scenario import load_scenario, parse_scenario
from swarmharness.simulation.scenario_text import scenario_text

SHIPPED = sorted((Path(__file__).parents[3] / "configs" / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_scenario_that_is_written_reads_back_equal(path: Path) -> None:
    scenario = load_scenario(path).scaled(nodes=37, hours=0.123)
    assert parse_scenario(Source("again", scenario_text(scenario))) == scenario
    odd = replace(scenario, title='a "quoted" name', routing=replace(scenario.routing, price_weight=0.5))
    assert parse_scenario(Source("again", scenario_text(odd))) == odd
