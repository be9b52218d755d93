"""Counts messages and bytes by node and by kind; it sends nothing.

What a frame, Noise and Yamux add to a payload is a constant here. Heartbeats are counted when a channel ends, from its
age: as messages of a simulation they would be most of its events.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FRAME_BYTES = 60
"""Frame header, request header, Yamux and Noise of one message."""
HEARTBEAT_S = 3.0
HEARTBEAT_BYTES = FRAME_BYTES + 8
HEARTBEAT = "heartbeat"


@dataclass(slots=True)
class Count:
    """Messages and their bytes."""

    messages: int = 0
    size_bytes: int = 0

    def add(self, messages: int, size_bytes: int) -> None:
        """Count more."""
        self.messages += messages
        self.size_bytes += size_bytes


@dataclass(slots=True)
class Traffic:
    """What every node sent."""

    by_kind: dict[str, Count] = field(default_factory=dict)
    by_node: list[Count] = field(default_factory=list)
    lost: int = 0

    def sent(self, node: int, kind: str, payload_bytes: int) -> None:
        """Count one message."""
        count = self.by_kind.get(kind)
        if count is None:
            count = self.by_kind[kind] = Count()
        size_bytes = payload_bytes + FRAME_BYTES + len(kind)
        count.messages += 1
        count.size_bytes += size_bytes
        mine = self.by_node[node]
        mine.messages += 1
        mine.size_bytes += size_bytes

    def heartbeats(self, nodes: tuple[int, int], age_s: float) -> None:
        """Count the PINGs and PONGs of a channel that lived so long."""
        beats = 2 * int(age_s / HEARTBEAT_S)
        self.by_kind.setdefault(HEARTBEAT, Count()).add(2 * beats, 2 * beats * HEARTBEAT_BYTES)
        for node in nodes:
            self.by_node[node].add(beats, beats * HEARTBEAT_BYTES)
