"""Watches the memory, descriptors and processor time of a node from outside; it judges nothing."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import trio

from benchmarks.harness import cpu_s, rss_mib

SAMPLE_S = 0.25
_WINDOW_S = 2.0
_SLACK = 0.1
"""Of one processor: a node that uses so much more than before an attack is idle again."""


@dataclass(slots=True)
class Gauges:
    """The peaks since the last reset; the node's worker processes count as its own."""

    pid: int
    rss_mib: float = 0.0
    descriptors: int = 0
    cpu_s: float = 0.0
    """At the last sample."""
    alive: bool = True

    async def watch(self) -> None:
        """Sample until cancelled, or until the node is gone."""
        while self.alive:
            self.sample()
            await trio.sleep(SAMPLE_S)

    def reset(self) -> None:
        """Begin with what is now."""
        self.rss_mib, self.descriptors = 0.0, 0
        self.sample()

    def sample(self) -> float:
        """Look once; returns the resident memory in MiB."""
        try:
            now_mib, self.cpu_s = rss_mib(self.pid), cpu_s(self.pid)
            descriptors = len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
        except (OSError, IndexError):  # it ended, or a worker of it did in this moment
            self.alive = Path(f"/proc/{self.pid}/fd").exists()
            return 0.0
        self.rss_mib, self.descriptors = max(self.rss_mib, now_mib), max(self.descriptors, descriptors)
        return now_mib

    async def idle_again_s(self, usual: float, *, within_s: float) -> float:
        """Return after how many seconds the node uses no more processors than `usual` again; infinity if it does not.

        Takes `within_s` in any case.
        """
        began_s = trio.current_time()
        found = float("inf")
        seen: deque[tuple[float, float]] = deque()
        while (now_s := trio.current_time()) < began_s + within_s:
            seen.append((now_s, self.cpu_s))
            while seen[0][0] < now_s - _WINDOW_S:
                seen.popleft()
            long_s = now_s - seen[0][0]
            if long_s > _WINDOW_S / 2:
                busy = (self.cpu_s - seen[0][1]) / long_s > usual + _SLACK
                if busy:
                    found = float("inf")
                elif found == float("inf"):
                    found = seen[0][0] - began_s
            await trio.sleep(SAMPLE_S)
        return found
