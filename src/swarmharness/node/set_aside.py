"""Finds the files that a start of this node set aside because they were damaged, and says what to do; it moves none."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_DONE = "then remove that file, and this is said no more"
STORES = {
    "swarm.sqlite": (
        "receipts",
        "partners give back what they have by themselves; if you have an export, `swarmharness credit import FILE`",
    ),
    "jobs.sqlite": ("the journal of jobs", "what could be read was kept: see `swarmharness jobs list`"),
    "reputations.sqlite": ("what checks told of peers", "it is learnt anew"),
    "peers": ("remembered peers", "join once more with an invite if no node is connected"),
}
"""What each file holds, and what its user may do about its loss."""
FOUND_MAX = 32
_ASIDE = re.compile(r"(.+?)\.(?:damaged(?:-\d+)?|corrupt)")


@dataclass(frozen=True, slots=True)
class SetAside:
    """One damaged file."""

    path: Path
    holds: str
    advice: str
    since_unix_s: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "file": str(self.path),
            "holds": self.holds,
            "since_unix_s": self.since_unix_s,
            "advice": self.advice,
        }


def find_set_aside(folder: Path) -> list[SetAside]:
    """Return what lies set aside in a data directory, the oldest first; a folder that cannot be read has none."""
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    found = []
    for path in paths:
        parts = _ASIDE.fullmatch(path.name)
        if parts is not None and parts[1] in STORES:
            holds, advice = STORES[parts[1]]
            with suppress(OSError):  # it was removed meanwhile, or is a link to nothing
                found.append(SetAside(path, holds, f"{advice}; {_DONE}", int(path.stat().st_ctime)))
    return sorted(found, key=lambda one: (one.since_unix_s, one.path))[:FOUND_MAX]
