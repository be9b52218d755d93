from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.errors import ConfigurationError
from swarmharness.owner.durations import DURATION_S_MAX, parse_duration
from swarmharness.owner.limits import NEW_US, Held, Limits, judge
from swarmharness.owner.ports import LocalTime, Readings, Sensor
from swarmharness.owner.schedule import Hours, allows, next_opening, parse_hours

T = TypeVar("T")
S = 1_000_000
NOON = LocalTime(0, 720)
percents = st.none() | st.floats(0, 100)
readings = st.builds(
    Readings,
    cpu_others_percent=percents,
    memory_available_mib=st.none() | st.integers(0, 100_000),
    on_battery=st.none() | st.booleans(),
    battery_percent=percents,
    gpu_others_percent=percents,
    temperature_c=st.none() | st.floats(1, 150),
)
limits = st.builds(
    Limits,
    cpu_others_max_percent=st.floats(1, 100),
    memory_available_min_mib=st.integers(0, 100_000),
    on_battery=st.booleans(),
    battery_min_percent=st.floats(0, 100),
    gpu_others_max_percent=st.floats(1, 100),
    temperature_max_c=st.floats(0, 150),
    calm_s=st.floats(0, 100),
)
held = st.dictionaries(st.sampled_from(Sensor), st.just(NEW_US) | st.integers(0, 100 * S)).map(
    lambda since: Held(MappingProxyType(since))
)
times = st.builds(LocalTime, st.integers(0, 6), st.integers(0, 1439))
days = st.sets(st.integers(0, 6), min_size=1).map(lambda found: tuple(sorted(found)))
hours = st.builds(Hours, days, st.integers(0, 1439), st.integers(1, 1440)).filter(lambda one: one.start != one.end)


def outcome(parse: Callable[[str], T], text: str) -> T | str:
    try:
        return parse(text)
    except ConfigurationError as error:
        return str(error)


@given(held, readings, limits, st.lists(st.floats(0.1, 60), min_size=1, max_size=20))
def test_a_constant_reading_changes_the_verdict_at_most_once_and_only_to_open(
    before: Held, constant: Readings, limit: Limits, steps_s: list[float]
) -> None:
    now_us = 100 * S
    allowed = []
    for step_s in steps_s:
        now_us += round(step_s * S)
        verdict, before = judge(before, constant, limit, now_us=now_us, time=NOON, pause=None)
        allowed.append(verdict.allowed)
    assert allowed == sorted(allowed), "closed never follows open"


@given(readings, limits)
def test_a_constant_reading_from_the_start_never_changes_the_verdict(constant: Readings, limit: Limits) -> None:
    first, before = judge(Held(), constant, limit, now_us=0, time=NOON, pause=None)
    for now_s in (1, 200, 10_000):
        again, before = judge(before, constant, limit, now_us=now_s * S, time=NOON, pause=None)
        assert again == first


@given(st.lists(readings, min_size=2, max_size=30), limits)
def test_it_never_closes_sooner_than_calm_s_after_it_opened_unless_a_limit_is_crossed_anew(
    sequence: list[Readings], limit: Limits
) -> None:
    before, closed_us = Held(), None
    for step, one in enumerate(sequence):
        verdict, before = judge(before, one, limit, now_us=step * S, time=NOON, pause=None)
        crossed, _ = judge(Held(), one, limit, now_us=step * S, time=NOON, pause=None)
        assert not (verdict.allowed and not crossed.allowed), "a crossed limit closes at once"
        if not crossed.allowed:
            closed_us = step * S
        elif verdict.allowed and closed_us is not None:
            assert step * S - closed_us > limit.calm_s * S
            closed_us = None


@given(readings, limits, st.sampled_from(Sensor))
def test_an_unknown_reading_never_closes(constant: Readings, limit: Limits, sensor: Sensor) -> None:
    blind = {
        Sensor.CPU: {"cpu_others_percent": None},
        Sensor.MEMORY: {"memory_available_mib": None},
        Sensor.BATTERY: {"on_battery": None},
        Sensor.GPU: {"gpu_others_percent": None},
        Sensor.TEMPERATURE: {"temperature_c": None},
    }[sensor]
    verdict, _ = judge(Held(), replace(constant, **blind), limit, now_us=0, time=NOON, pause=None)  # type: ignore[arg-type]
    assert sensor not in {reason.code for reason in verdict.reasons}


@given(hours)
def test_hours_read_back_as_they_are_written(one: Hours) -> None:
    assert parse_hours(str(one)) == one


@given(st.text(max_size=60) | st.from_regex(r"[a-z,-]{0,12} [0-9:]{0,6}-[0-9:]{0,6}"))
def test_any_text_is_hours_or_one_line_that_says_why_not(text: str) -> None:
    found = outcome(parse_hours, text)
    assert parse_hours(str(found)) == found if isinstance(found, Hours) else found.isprintable()


@settings(max_examples=30)
@given(hours)
def test_hours_cover_as_many_minutes_of_the_week_as_they_last(one: Hours) -> None:
    week = [LocalTime(day, minute) for day in range(7) for minute in range(1440)]
    covered = sum(one.covers(time) for time in week)
    assert one.minutes <= covered <= one.minutes * len(one.days)
    if one.minutes <= 1440 - one.start or len(one.days) == 1:
        assert covered == one.minutes * len(one.days)


@given(st.lists(hours, min_size=1, max_size=3), times)
def test_the_next_opening_opens(schedule: list[Hours], time: LocalTime) -> None:
    if not allows(schedule, time):
        day, clock = next_opening(schedule, time).split()
        hour, minute = clock.split(":")
        opens = LocalTime(("mon", "tue", "wed", "thu", "fri", "sat", "sun").index(day), 60 * int(hour) + int(minute))
        assert allows(schedule, opens)
        ahead = (opens.weekday * 1440 + opens.minute - time.weekday * 1440 - time.minute) % 10_080
        before = time.weekday * 1440 + time.minute + ahead - 1
        assert not allows(schedule, LocalTime(before // 1440 % 7, before % 1440)), "and nothing opens earlier"


@given(st.text(max_size=20) | st.from_regex(r"\d{0,9}[dhms]{0,2}\d{0,9}[dhms]?"))
def test_any_text_is_a_duration_in_bounds_or_refused(text: str) -> None:
    found = outcome(parse_duration, text)
    assert 0 < found <= DURATION_S_MAX if isinstance(found, int) else "is not a duration" in found
