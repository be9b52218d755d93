"""Reads how long a pause lasts, such as `2h` or `1h30m`; pure."""

from __future__ import annotations

import re

from swarmharness.errors import ConfigurationError

DURATION_S_MAX = 366 * 86_400

_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_FORM = re.compile(r"(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?")


def parse_duration(text: str) -> int:
    """Return the seconds in `90s`, `30m`, `2h`, `1h30m` or `2d`; raises ConfigurationError for anything else."""
    found = _FORM.fullmatch(text.strip().lower())
    parts = found.groups() if found else ()
    duration_s = sum(int(part) * unit_s for part, unit_s in zip(parts, _UNITS_S.values(), strict=False) if part)
    if not 0 < duration_s <= DURATION_S_MAX:
        raise ConfigurationError(f'"{text}" is not a duration such as 45m, 2h or 1h30m, of at most 366 days')
    return duration_s
