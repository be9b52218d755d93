"""The ports of owner first: what a machine tells, where a pause is kept, whom a verdict reaches; no implementation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

MINUTES_PER_DAY = 24 * 60


class Sensor(StrEnum):
    """What can be read, by the names under which failures are counted."""

    CPU = "cpu"
    MEMORY = "memory"
    BATTERY = "battery"
    GPU = "gpu"
    TEMPERATURE = "temperature"


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the machine; None means unknown, and limits nothing."""

    cpu_others_percent: float | None = None
    """Share of all cores that others than this node used since the last look: 100 is the whole machine."""
    memory_available_mib: int | None = None
    """What programs could still get without swapping."""
    on_battery: bool | None = None
    """False on mains, and on a machine that is known to have no battery."""
    battery_percent: float | None = None
    gpu_others_percent: float | None = None
    """The busiest GPU's use by others than this node."""
    temperature_c: float | None = None
    """The hottest sensor of the processor."""
    failed: tuple[tuple[Sensor, str], ...] = ()
    """Sensors that are there and could not be read, and why."""


@dataclass(frozen=True, slots=True)
class LocalTime:
    """What a clock on the owner's wall shows."""

    weekday: int
    """0 is Monday."""
    minute: int
    """Of the day, 0 to 1439."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The owner wants no work for others. Whoever corrects the clock moves no end of a pause."""

    until_unix_s: int | None = None
    """By the clock that it began by. None: until the owner resumes."""
    for_s: int = 0
    """How long it was to last; never so long is left of it, whatever the clock shows. Without an end, 0."""

    def left_s(self, now_unix_s: int) -> int | None:
        """Return what is left by a clock that may have been corrected since, 0 or less if it is over; None: no end."""
        return None if self.until_unix_s is None else min(self.until_unix_s - now_unix_s, self.for_s)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a node does not serve."""

    code: str
    """One word, which others may know: see `registry.advert.NOT_SERVING`."""
    text: str
    """For the owner, with numbers."""


class Sensors(Protocol):
    """The machine."""

    def read(self, wanted: frozenset[Sensor]) -> Readings:
        """Look at the wanted sensors; called in a thread, one call at a time, and may take a while.

        A sensor that is absent leaves its field None; one that fails is named in `failed` too.
        """


class WallClock(Protocol):
    """The owner's time."""

    def elapsed_us(self) -> int:
        """Microseconds since an arbitrary start, those included that the machine slept; no correction moves them."""

    def local(self, unix_s: int) -> LocalTime:
        """Return what clocks on the wall show at that moment."""

    def text(self, unix_s: int, *, now_unix_s: int) -> str:
        """Return that moment for a person to read: `18:00` today, and with its date otherwise."""


class PauseStore(Protocol):
    """Keeps a pause across restarts."""

    def load(self) -> Pause | None:
        """Return what was saved last; a pause if that cannot be read."""

    def save(self, pause: Pause | None) -> None:
        """Keep it durably; raises ConfigurationError if the disk does not take it."""


class Gate(Protocol):
    """Whom the verdict reaches. No call may block or raise."""

    def close(self, reason: Reason) -> None:
        """Take nothing new from others; called again when the reason changes."""

    def hand_back(self) -> None:
        """Give back what still runs for others: it had its time."""

    def open(self) -> None:
        """Serve again."""


@dataclass(frozen=True, slots=True)
class OwnerPorts:
    """Everything through which owner first touches the world."""

    sensors: Sensors
    pauses: PauseStore
    wall: WallClock
