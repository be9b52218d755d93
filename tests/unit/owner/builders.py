"""Readings, clocks and gates for the tests of owner first."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio

from swarmharness.owner.ports import LocalTime, OwnerPorts, Pause, Readings, Reason, Sensor

MONDAY_NOON = LocalTime(0, 12 * 60)
START_UNIX_S = 1_800_000_000


@dataclass
class FakeSensors:
    """Shows what it is told to, raises what it is told to, and remembers what was asked."""

    readings: Readings = field(default_factory=Readings)
    error: Exception | None = None
    asked: list[frozenset[Sensor]] = field(default_factory=list)

    def read(self, wanted: frozenset[Sensor]) -> Readings:
        self.asked.append(wanted)
        if self.error is not None:
            raise self.error
        return self.readings


@dataclass
class FakeWall:
    time: LocalTime = MONDAY_NOON

    def elapsed_us(self) -> int:
        return round(trio.current_time() * 1e6)

    def local(self, unix_s: int) -> LocalTime:
        return self.time

    def text(self, unix_s: int, *, now_unix_s: int) -> str:
        return f"+{unix_s - now_unix_s} s"


@dataclass
class MemoryPauses:
    pause: Pause | None = None
    error: Exception | None = None

    def load(self) -> Pause | None:
        return self.pause

    def save(self, pause: Pause | None) -> None:
        if self.error is not None:
            raise self.error
        self.pause = pause


@dataclass
class Log:
    """A gate that writes down what it was told."""

    told: list[str] = field(default_factory=list)

    def close(self, reason: Reason) -> None:
        self.told.append(f"close: {reason.code}")

    def hand_back(self) -> None:
        self.told.append("hand back")

    def open(self) -> None:
        self.told.append("open")


def owner_ports(
    sensors: FakeSensors | None = None, pauses: MemoryPauses | None = None, wall: FakeWall | None = None
) -> OwnerPorts:
    return OwnerPorts(sensors or FakeSensors(), pauses or MemoryPauses(), wall or FakeWall())
