from __future__ import annotations

from dataclasses import replace

import pytest

from swarmharness.owner.limits import Held, Limits, Verdict, judge
from swarmharness.owner.ports import Readings, Sensor
from swarmharness.owner.schedule import parse_hours
from swarmharness.registry.advert import NOT_SERVING
from tests.unit.owner.builders import MONDAY_NOON

NONE = Limits(memory_available_min_mib=0, on_battery=True, battery_min_percent=0)
S = 1_000_000


class Judge:
    """Judges one reading after the other, `step_s` apart."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held = Held()
        self.now_us = 0

    def __call__(self, readings: Readings, after_s: float = 5) -> Verdict:
        self.now_us += round(after_s * S)
        verdict, self.held = judge(self.held, readings, self.limits, now_us=self.now_us, time=MONDAY_NOON, pause=None)
        return verdict


def texts(verdict: Verdict) -> list[str]:
    return [reason.text for reason in verdict.reasons]


def cpu(percent: float | None) -> Readings:
    return Readings(cpu_others_percent=percent)


def test_without_limits_nothing_is_read_and_everything_allowed() -> None:
    assert NONE.wanted == frozenset()
    assert Judge(NONE)(Readings(100.0, 0, True, 0.0, 100.0, 120.0)).allowed


def test_by_default_a_laptop_on_battery_does_not_serve_and_a_loaded_one_on_mains_does() -> None:
    judged = Judge(Limits())
    assert judged(Readings(on_battery=False, battery_percent=5.0, cpu_others_percent=100.0)).allowed
    verdict = judged(Readings(on_battery=True, battery_percent=100.0))
    assert (verdict.code, texts(verdict)) == ("battery", ["it runs on battery"])


def test_every_limit_says_which_reading_crosses_which_number() -> None:
    limits = Limits(
        schedule=(parse_hours("sat 10:00-12:00"),),
        cpu_others_max_percent=50,
        memory_available_min_mib=1024,
        on_battery=True,
        battery_min_percent=50,
        gpu_others_max_percent=20,
        temperature_max_c=80,
    )
    assert limits.wanted == frozenset(Sensor)
    readings = Readings(51.0, 1023, True, 31.0, 21.0, 81.0)
    verdict, _ = judge(Held(), readings, limits, now_us=0, time=MONDAY_NOON, pause="paused by the owner until 18:00")
    assert texts(verdict) == [
        "paused by the owner until 18:00",
        "outside its hours; the next begin sat 10:00",
        "others use 51% of the CPU, limit 50%",
        "others use 21% of the GPU, limit 20%",
        "1023 MiB of memory left, limit 1024 MiB",
        "battery at 31%, limit 50%",
        "81 °C, limit 80 °C",
    ]
    assert verdict.code == "paused"
    assert {reason.code for reason in verdict.reasons} == set(NOT_SERVING) - {"disk"}, "others know every word"


def test_what_is_unknown_limits_nothing() -> None:
    limits = Limits(cpu_others_max_percent=1, on_battery=False, gpu_others_max_percent=1, temperature_max_c=1, calm_s=0)
    assert Judge(limits)(Readings()).allowed
    assert Judge(replace(limits, on_battery=True))(Readings(on_battery=True)).allowed


def test_a_reading_at_the_limit_is_allowed() -> None:
    limits = Limits(cpu_others_max_percent=50, memory_available_min_mib=1024, on_battery=True, temperature_max_c=80)
    assert Judge(limits)(Readings(50.0, 1024, True, 50.0, None, 80.0)).allowed


def test_a_crossed_limit_opens_only_well_inside_it_and_after_a_while() -> None:
    judged = Judge(replace(NONE, cpu_others_max_percent=50, calm_s=30))
    assert not judged(cpu(60)).allowed
    assert texts(judged(cpu(45))) == ["others use 45% of the CPU, limit 50% (not far enough inside it yet)"]
    assert texts(judged(cpu(40))) == ["others use 40% of the CPU, limit 50% (serves again in 30 s if it stays so)"]
    assert texts(judged(cpu(10), 20)) == ["others use 10% of the CPU, limit 50% (serves again in 10 s if it stays so)"]
    assert not judged(cpu(41), 9).allowed, "it rose above the margin, so the while begins anew"
    assert not judged(cpu(10), 29).allowed
    assert not judged(cpu(10), 29).allowed
    assert judged(cpu(10), 1).allowed
    assert judged(cpu(50)).allowed


def test_a_sensor_that_goes_away_holds_nothing_for_longer_than_the_while() -> None:
    judged = Judge(replace(NONE, cpu_others_max_percent=50, calm_s=30))
    judged(cpu(60))
    assert texts(judged(cpu(None))) == [
        "others use unknown of the CPU, limit 50% (serves again in 30 s if it stays so)"
    ]
    assert judged(cpu(None), 30).allowed


@pytest.mark.parametrize(
    ("limits", "crossed", "not_yet", "calm"),
    [
        (
            replace(NONE, memory_available_min_mib=1000),
            Readings(memory_available_mib=999),
            Readings(memory_available_mib=1249),
            Readings(memory_available_mib=1250),
        ),
        (
            replace(NONE, memory_available_min_mib=14_000),
            Readings(memory_available_mib=13_999),
            Readings(memory_available_mib=14_511),
            Readings(memory_available_mib=14_512),
        ),
        (
            replace(NONE, battery_min_percent=50),
            Readings(on_battery=True, battery_percent=49),
            Readings(on_battery=True, battery_percent=54),
            Readings(on_battery=True, battery_percent=55),
        ),
        (
            replace(NONE, battery_min_percent=98),
            Readings(on_battery=True, battery_percent=97),
            Readings(on_battery=True, battery_percent=99),
            Readings(on_battery=True, battery_percent=100),
        ),
        (
            replace(NONE, temperature_max_c=80),
            Readings(temperature_c=81),
            Readings(temperature_c=76),
            Readings(temperature_c=75),
        ),
        (
            replace(NONE, gpu_others_max_percent=50),
            Readings(gpu_others_percent=51),
            Readings(gpu_others_percent=41),
            Readings(gpu_others_percent=40),
        ),
    ],
)
def test_each_limit_has_its_margin(limits: Limits, crossed: Readings, not_yet: Readings, calm: Readings) -> None:
    judged = Judge(replace(limits, calm_s=0))
    assert not judged(crossed).allowed
    assert not judged(not_yet).allowed
    assert judged(calm).allowed


def test_mains_calm_a_battery_limit_whatever_its_charge() -> None:
    judged = Judge(replace(NONE, battery_min_percent=50, calm_s=10))
    judged(Readings(on_battery=True, battery_percent=10))
    assert texts(judged(Readings(on_battery=False, battery_percent=10))) == [
        "it ran on battery (serves again in 10 s if it stays so)"
    ]
    assert judged(Readings(on_battery=False, battery_percent=11), 10).allowed


def test_pause_and_schedule_end_at_once() -> None:
    limits = replace(NONE, schedule=(parse_hours("sat"),))
    closed, held = judge(Held(), Readings(), limits, now_us=0, time=MONDAY_NOON, pause="paused")
    assert [reason.code for reason in closed.reasons] == ["paused", "schedule"]
    opened, _ = judge(held, Readings(), NONE, now_us=0, time=MONDAY_NOON, pause=None)
    assert opened.allowed
    assert opened.code == ""
