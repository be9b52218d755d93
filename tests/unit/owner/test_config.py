from __future__ import annotations

from pathlib import Path

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.node.config import Config, load_config
from swarmharness.owner.limits import Limits, OwnerSettings
from swarmharness.owner.ports import Sensor
from swarmharness.owner.schedule import parse_hours


def test_the_defaults_of_the_file_are_those_of_the_code() -> None:
    assert Config().owner.settings == OwnerSettings()
    assert Limits().wanted == {Sensor.BATTERY, Sensor.MEMORY}, "a loaded machine on mains serves"


def test_what_is_written_is_what_holds(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(
        """version = 1
[owner]
schedule = ["mon-fri 19:00-07:00", "sat,sun"]
cpu_others_max_percent = 50
memory_available_min_mib = 2048
on_battery = true
battery_min_percent = 80
gpu_others_max_percent = 10
temperature_max_c = 85
calm_s = 60
check_s = 2
drain_s = 0
"""
    )
    hours = (parse_hours("mon-fri 19:00-07:00"), parse_hours("sat,sun"))
    limits = Limits(hours, 50, 2048, True, 80, 10, 85, 60)
    assert load_config(file).owner.settings == OwnerSettings(limits, 2, 0)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("cpu_others_max_percent = 0", "cpu_others_max_percent is 0.0; allowed is 1 to 100"),
        ("memory_available_min_mib = -1", "memory_available_min_mib is -1; allowed is 0 to 1048576"),
        ("on_battery = 1", "on_battery must be true or false, not an integer"),
        ("battery_min_percent = 101", "battery_min_percent is 101.0; allowed is 0 to 100"),
        ("temperature_max_c = nan", "temperature_max_c is nan; allowed is 0 to 150"),
        ("check_s = 0", "check_s is 0.0; allowed is 0.1 to 3600"),
        ('schedule = "mon"', "schedule must be a list of strings"),
        ('schedule = ["mon", "noon"]', 'schedule has "noon", which has "noon" where a day should be'),
        ("cpu_max = 50", "cpu_max is not a known key"),
    ],
)
def test_a_bad_limit_is_named_with_its_line_and_what_is_allowed(tmp_path: Path, line: str, problem: str) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f"version = 1\n[owner]\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(file)
    assert str(caught.value).startswith(f"{file}:3: [owner] {problem}")
    assert "\n" not in str(caught.value)
