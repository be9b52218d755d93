"""The trace of a simulation: integers only, hashed as they come; it stores nothing but the digest and a short tail."""

from __future__ import annotations

import hashlib
from collections import deque
from enum import IntEnum
from struct import Struct

_ROW = Struct("<BQqqqq")
_FLUSHED_BYTES = 1 << 16
TAIL = 32


class Event(IntEnum):
    """What a row of the trace tells; the numbers are part of the digest."""

    NODE_UP = 1
    NODE_DOWN = 2
    MESSAGE = 3
    """From node, to node, kind, bytes: as it arrives."""
    LOST = 4
    REQUEST = 5
    """Number, node, items."""
    ANSWER = 6
    """Number, latency in microseconds (or -1), items answered, the number of the node that did the first."""
    RECEIPT = 7
    """Node, kept halves, micro-credits."""
    FAULT = 8
    """Position of the fault in the scenario, 1 as it begins and 0 as it ends, nodes struck."""


class Trace:
    """Call `note` for everything that happens, in order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._buffer = bytearray()
        self.events = 0
        self.tail: deque[tuple[int, ...]] = deque(maxlen=TAIL)

    def note(self, event: Event, at_us: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> None:
        """Add a row."""
        self.events += 1
        self._buffer += _ROW.pack(event, at_us, a, b, c, d)
        if event is not Event.MESSAGE:
            self.tail.append((int(event), at_us, a, b, c, d))
        if len(self._buffer) > _FLUSHED_BYTES:
            self._digest.update(self._buffer)
            self._buffer.clear()

    def digest(self) -> str:
        """Return the SHA-256 of all rows so far, in hexadecimal."""
        self._digest.update(self._buffer)
        self._buffer.clear()
        return self._digest.hexdigest()
