"""How the log of a node is written so that no peer fills it, or makes a terminal do anything; it logs nothing itself.

A line that a peer can cause is marked with `extra=by_peers()`; of each kind one is written a minute, and the next one
says how many were held back. Everything is escaped.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, TextIO

from swarmharness.text_bytes import visible

EVERY_S = 60.0
KINDS_MAX = 256
LINE_CHARS_MAX = 400
_KIND = "kind_by_peers"


def by_peers(*kind: str) -> dict[str, Any]:
    """Return the `extra` of a line that peers cause; lines of one template are of one kind, but for `kind`."""
    return {_KIND: kind}


class Pace:
    """Says of each kind when it is time for one more; pure."""

    def __init__(self) -> None:
        self._kinds: dict[object, tuple[float, int]] = {}

    def due(self, kind: object, now_s: float) -> int | None:
        """Return how many of a kind were held back since the last one, or None if this one is held back too."""
        last_s, held = self._kinds.get(kind, (-math.inf, 0))
        if now_s < last_s + EVERY_S:
            self._kinds[kind] = last_s, held + 1
            return None
        self._kinds.pop(kind, None)
        self._kinds[kind] = now_s, 0
        if len(self._kinds) > KINDS_MAX:
            del self._kinds[next(iter(self._kinds))]
        return held


class Paced(logging.Filter):
    """Holds back what peers cause too often."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        super().__init__()
        self._pace = Pace()
        self._now_s = now_s

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        kind = getattr(record, _KIND, None)
        if kind is None:
            return True
        held = self._pace.due((record.name, record.msg, kind), self._now_s())
        if held:
            record.msg = f"{record.msg} ({held} more like this since the last one)"
        return held is not None


class Escaped(logging.Formatter):
    """Writes a record so that nothing in it but ends of lines reaches a terminal as what it is."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        lines = map(visible, super().format(record).split("\n"))
        return "\n".join(map(_cut, lines) if hasattr(record, _KIND) else lines)


def log_handler(stream: TextIO, now_s: Callable[[], float]) -> logging.Handler:
    """Return what writes a node's log; `now_s` is a monotonic clock."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Escaped("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Paced(now_s))
    return handler


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARS_MAX else line[: LINE_CHARS_MAX - 1] + "…"
