"""Reads weekly hours such as `mon-fri 19:00-07:00` and tells whether a wall clock is inside them; pure, no clock.

It is told what the wall clock shows, so a change to or from summer time does what the clock on the wall does: an hour
that is skipped is not served, one that comes twice is served twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from swarmharness.errors import ConfigurationError
from swarmharness.owner.ports import MINUTES_PER_DAY, LocalTime

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHOWN_CHARS_MAX = 160
EXAMPLE = 'an example is "mon-fri 19:00-07:00"'

_WEEK = len(DAYS) * MINUTES_PER_DAY
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")


@dataclass(frozen=True, slots=True)
class Hours:
    """The same hours on some days of the week."""

    days: tuple[int, ...]
    """0 is Monday; ascending, none twice, at least one."""
    start: int
    """Minute of the day, 0 to 1439."""
    end: int
    """Minute of the day, 1 to 1440; at or before `start` it is one of the next day."""

    @property
    def minutes(self) -> int:
        """How long they last."""
        return self.end - self.start if self.end > self.start else self.end - self.start + MINUTES_PER_DAY

    def covers(self, time: LocalTime) -> bool:
        """Tell whether the wall clock is inside."""
        return any((_of_week(time) - day * MINUTES_PER_DAY - self.start) % _WEEK < self.minutes for day in self.days)

    def __str__(self) -> str:
        return f"{','.join(DAYS[day] for day in self.days)} {_clock(self.start)}-{_clock(self.end)}"


def parse_hours(text: str) -> Hours:
    """Return the hours in `DAYS` or `DAYS FROM-TO`; raises ConfigurationError that says what is wrong.

    DAYS are `daily`, or days and ranges of days with commas between them; without a time, the whole days.
    """
    words = text.lower().split()
    if not 1 <= len(words) <= 2:
        raise _mistake(text, "is not days and hours")
    days = _days(text, words[0])
    if len(words) == 1:
        return Hours(days, 0, MINUTES_PER_DAY)
    ends = words[1].split("-")
    if len(ends) != 2:
        raise _mistake(text, f'has "{words[1]}" where hours such as 19:00-07:00 should be')
    start, end = (_minute(text, one) for one in ends)
    if start == MINUTES_PER_DAY:
        raise _mistake(text, "begins at 24:00; write 00:00 of the next day")
    if start == end:
        raise _mistake(text, "begins when it ends; a whole day is 00:00-24:00")
    # Over midnight 00:00 and 24:00 are the same moment; one form, so that equal hours are equal.
    return Hours(days, start, end or MINUTES_PER_DAY)


def complain_about_hours(text: str) -> str | None:
    """Say why `text` is no entry of a schedule, or None."""
    try:
        parse_hours(text)
    except ConfigurationError as error:
        return f"has {error}"
    return None


def allows(schedule: Iterable[Hours], time: LocalTime) -> bool:
    """Tell whether any of the hours covers the wall clock; an empty schedule always does."""
    hours = tuple(schedule)
    return not hours or any(one.covers(time) for one in hours)


def next_opening(schedule: Iterable[Hours], time: LocalTime) -> str:
    """Return when the next hours begin, such as `mon 19:00`; empty for an empty schedule."""
    starts = [day * MINUTES_PER_DAY + hours.start for hours in schedule for day in hours.days]
    if not starts:
        return ""
    soonest = min(starts, key=lambda start: (start - _of_week(time)) % _WEEK)
    return f"{DAYS[soonest // MINUTES_PER_DAY]} {_clock(soonest % MINUTES_PER_DAY)}"


def _of_week(time: LocalTime) -> int:
    return time.weekday * MINUTES_PER_DAY + time.minute


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _days(text: str, word: str) -> tuple[int, ...]:
    if word == "daily":
        return tuple(range(len(DAYS)))
    days: set[int] = set()
    for part in word.split(","):
        first, dash, last = part.partition("-")
        start = _day(text, first)
        end = _day(text, last) if dash else start
        days.update((start + ahead) % len(DAYS) for ahead in range((end - start) % len(DAYS) + 1))
    return tuple(sorted(days))


def _day(text: str, name: str) -> int:
    if name not in DAYS:
        raise _mistake(text, f'has "{name}" where a day should be; days are {", ".join(DAYS)} and daily')
    return DAYS.index(name)


def _minute(text: str, clock: str) -> int:
    found = _CLOCK.fullmatch(clock)
    if not found:
        raise _mistake(text, f'has "{clock}" where a time such as 07:30 should be')
    minute = int(found[1]) * 60 + int(found[2])
    if int(found[2]) > 59 or minute > MINUTES_PER_DAY:
        raise _mistake(text, f'has "{clock}", which no clock shows; times go from 00:00 to 24:00')
    return minute


def _mistake(text: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f'"{_shown(text)}", which {_shown(problem)}; {EXAMPLE}')


def _shown(text: str) -> str:
    """Return it as one line that a terminal can show."""
    line = " ".join(text.split())
    return "".join(one if one.isprintable() else "?" for one in line[:SHOWN_CHARS_MAX])
