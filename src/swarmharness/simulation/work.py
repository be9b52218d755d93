"""Counts who worked on what and was paid for it, over time, in equal parts of a simulation; it judges nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

PARTS = 60


@dataclass(slots=True)
class Work:
    """What nodes, by index, did in each of `PARTS` parts of the time."""

    now_us: Callable[[], int]
    total_us: int
    items: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    """Items worked on, by part, node and skill."""
    busy_us: Counter[tuple[int, int, str]] = field(default_factory=Counter)
    earned_microcredits: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By part in which the receipt first counted, and node."""

    def done(self, node: int, skill: str, items: int, busy_us: int) -> None:
        """Hear that a node answered a task."""
        key = self._part(), node, skill
        self.items[key] += items
        self.busy_us[key] += busy_us

    def paid(self, node: int, microcredits: int) -> None:
        """Hear that a receipt counts."""
        self.earned_microcredits[self._part(), node] += microcredits

    def _part(self) -> int:
        return min(PARTS - 1, self.now_us() * PARTS // max(1, self.total_us))
