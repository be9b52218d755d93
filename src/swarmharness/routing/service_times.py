"""What a worker measured of its own service of one skill: time of an item, latency by queue; bounded, pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

KEPT = 64
NEAREST = 8
SMOOTHING_SHIFT = 3
"""The newest call counts an eighth."""


@dataclass(slots=True)
class ServiceTimes:
    """Told of every call that ended well."""

    service_us: int = 0
    """Smoothed time of one item; 0 while nothing ran."""
    _calls: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=KEPT))

    def add(self, *, items: int, service_us: int, elapsed_us: int, found_items: int) -> None:
        """A call was answered that had found so many items before it."""
        item_us = max(1, service_us // max(1, items))
        self.service_us = self.service_us + ((item_us - self.service_us) >> SMOOTHING_SHIFT) or 1
        if len(self._calls) == 0:
            self.service_us = item_us
        self._calls.append((found_items, elapsed_us))

    def latency_us(self, queued_items: int) -> int:
        """Return the median latency of those of the last calls that found about so many items; 0 if none ran."""
        if not self._calls:
            return 0
        nearest = sorted(self._calls, key=lambda call: abs(call[0] - queued_items))[:NEAREST]
        return sorted(elapsed_us for _, elapsed_us in nearest)[len(nearest) // 2]
