"""Judges whether a node may serve others: readings against limits, with hysteresis; pure, no clock.

A limit that is crossed closes the node at once. It holds until the reading has been well inside, by a margin, for
`calm_s`: a reading that stays where it is can therefore never open and close the node in turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from swarmharness.owner.ports import LocalTime, Readings, Reason, Sensor
from swarmharness.owner.schedule import Hours, allows, next_opening

LOAD_MARGIN = 0.8
"""A load that closed the node must fall to this share of its limit."""
MEMORY_MARGIN = 1.25
MEMORY_MARGIN_MIB_MAX = 512
BATTERY_MARGIN_PERCENT = 5.0
TEMPERATURE_MARGIN_C = 5.0

PAUSED, SCHEDULE = "paused", "schedule"
NEW_US = -1
"""Stands for: the reading is not calm."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the owner allows. See `[owner]` in the configuration for what each number means."""

    schedule: tuple[Hours, ...] = ()
    cpu_others_max_percent: float = 100.0
    """100 is no limit."""
    memory_available_min_mib: int = 256
    """0 is no limit."""
    on_battery: bool = False
    battery_min_percent: float = 50.0
    gpu_others_max_percent: float = 100.0
    """100 is no limit."""
    temperature_max_c: float = 0.0
    """0 is no limit."""
    calm_s: float = 30.0

    @property
    def wanted(self) -> frozenset[Sensor]:
        """The sensors that have a limit."""
        limited = {
            Sensor.CPU: self.cpu_others_max_percent < 100,
            Sensor.MEMORY: self.memory_available_min_mib > 0,
            Sensor.BATTERY: not self.on_battery or self.battery_min_percent > 0,
            Sensor.GPU: self.gpu_others_max_percent < 100,
            Sensor.TEMPERATURE: self.temperature_max_c > 0,
        }
        return frozenset(sensor for sensor, limit in limited.items() if limit)


@dataclass(frozen=True, slots=True)
class OwnerSettings:
    """What the configuration says."""

    limits: Limits = field(default_factory=Limits)
    check_s: float = 5.0
    """Between two looks at the sensors."""
    drain_s: float = 10.0
    """What tasks of others get to finish."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the node serves others now."""

    reasons: tuple[Reason, ...] = ()
    """Why not; the weightiest first."""

    @property
    def allowed(self) -> bool:
        """Nothing speaks against it."""
        return not self.reasons

    @property
    def code(self) -> str:
        """The word for others; empty while it serves."""
        return self.reasons[0].code if self.reasons else ""


@dataclass(frozen=True, slots=True)
class Held:
    """What a judgement leaves for the next: the limits that were crossed, and since when each has been calm."""

    since_us: Mapping[Sensor, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class _Measure:
    """One reading beside its limit."""

    sensor: Sensor
    over: bool
    calm: bool
    """Well inside; never together with `over`."""
    text: str


def judge(
    before: Held, readings: Readings, limits: Limits, *, now_us: int, time: LocalTime, pause: str | None
) -> tuple[Verdict, Held]:
    """Return the verdict, and what to pass as `before` next time.

    `now_us` is monotonic, `time` is the wall's, `pause` is the owner's pause in words if there is one.
    """
    reasons: list[Reason] = []
    if pause is not None:
        reasons.append(Reason(PAUSED, pause))
    if not allows(limits.schedule, time):
        reasons.append(Reason(SCHEDULE, f"outside its hours; the next begin {next_opening(limits.schedule, time)}"))
    held: dict[Sensor, int] = {}
    for measure in _measures(readings, limits):
        since_us = before.since_us.get(measure.sensor)
        if measure.over:
            held[measure.sensor] = NEW_US
            reasons.append(Reason(measure.sensor, measure.text))
        elif since_us is not None:
            calm_since_us = _calm_since(since_us, measure.calm, now_us)
            if calm_since_us == NEW_US or now_us - calm_since_us < limits.calm_s * 1e6:
                held[measure.sensor] = calm_since_us
                reasons.append(Reason(measure.sensor, _waiting(measure, calm_since_us, now_us, limits)))
    return Verdict(tuple(reasons)), Held(MappingProxyType(held))


def _calm_since(since_us: int, calm: bool, now_us: int) -> int:
    if not calm:
        return NEW_US
    return now_us if since_us == NEW_US else since_us


def _waiting(measure: _Measure, calm_since_us: int, now_us: int, limits: Limits) -> str:
    if calm_since_us == NEW_US:
        return f"{measure.text} (not far enough inside it yet)"
    left_s = limits.calm_s - (now_us - calm_since_us) / 1e6
    return f"{measure.text} (serves again in {max(1, round(left_s))} s if it stays so)"


def _measures(readings: Readings, limits: Limits) -> Iterator[_Measure]:
    """Yield each sensor that has a limit; an unknown reading is calm, so that it limits nothing."""
    wanted = limits.wanted
    if Sensor.CPU in wanted:
        text = "others use {} of the CPU, limit {:g}%"
        yield _load(Sensor.CPU, readings.cpu_others_percent, limits.cpu_others_max_percent, text)
    if Sensor.GPU in wanted:
        text = "others use {} of the GPU, limit {:g}%"
        yield _load(Sensor.GPU, readings.gpu_others_percent, limits.gpu_others_max_percent, text)
    if Sensor.MEMORY in wanted:
        yield _memory(readings.memory_available_mib, limits.memory_available_min_mib)
    if Sensor.BATTERY in wanted:
        yield _battery(readings, limits)
    if Sensor.TEMPERATURE in wanted:
        hot_c, most_c = readings.temperature_c, limits.temperature_max_c
        text = f"{_shown(hot_c, ' °C')}, limit {most_c:g} °C"
        calm = hot_c is None or hot_c <= most_c - TEMPERATURE_MARGIN_C
        yield _Measure(Sensor.TEMPERATURE, hot_c is not None and hot_c > most_c, calm, text)


def _load(sensor: Sensor, percent: float | None, most: float, text: str) -> _Measure:
    calm = percent is None or percent <= LOAD_MARGIN * most
    return _Measure(sensor, percent is not None and percent > most, calm, text.format(_shown(percent, "%"), most))


def _memory(available_mib: int | None, least_mib: int) -> _Measure:
    inside_mib = min(MEMORY_MARGIN * least_mib, least_mib + MEMORY_MARGIN_MIB_MAX)
    text = f"{_shown(available_mib, ' MiB')} of memory left, limit {least_mib} MiB"
    calm = available_mib is None or available_mib >= inside_mib
    return _Measure(Sensor.MEMORY, available_mib is not None and available_mib < least_mib, calm, text)


def _battery(readings: Readings, limits: Limits) -> _Measure:
    percent, least = readings.battery_percent, limits.battery_min_percent
    if not readings.on_battery:
        return _Measure(Sensor.BATTERY, False, True, "it ran on battery")
    if not limits.on_battery:
        return _Measure(Sensor.BATTERY, True, False, "it runs on battery")
    calm = percent is None or percent >= min(least + BATTERY_MARGIN_PERCENT, 100)
    text = f"battery at {_shown(percent, '%')}, limit {least:g}%"
    return _Measure(Sensor.BATTERY, percent is not None and percent < least, calm, text)


def _shown(value: float | None, unit: str) -> str:
    return "unknown" if value is None else f"{value:.0f}{unit}"
