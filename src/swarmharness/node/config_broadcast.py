"""The keys of `[limits]` about broadcasts, which neighbours pass on; it enforces nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields

from swarmharness.network.broadcast_limits import BroadcastLimits
from swarmharness.node.config_dht import DhtConfig
from swarmharness.node.config_schema import key

_LIMITS = BroadcastLimits()


@dataclass(frozen=True, slots=True)
class BroadcastConfig(DhtConfig):
    """A part of `[limits]`."""

    broadcast_bytes_per_s: int = key(
        _LIMITS.broadcast_bytes_per_s,
        "Bytes of broadcasts that are read a second of one node; what is beyond waits.",
        least=1024,
        most=1 << 30,
    )
    broadcast_bytes_burst: int = key(
        _LIMITS.broadcast_bytes_burst, "So many at once, after a pause.", least=131_072, most=1 << 30
    )
    broadcast_timeout_s: float = key(
        _LIMITS.broadcast_timeout_s,
        "Seconds in which what was begun must be here; the largest, on a slow mobile link, takes six.",
        least=1,
        most=600,
    )
    broadcast_messages_per_s: int = key(
        _LIMITS.broadcast_messages_per_s,
        "New broadcasts a second that one node may pass on; one that nobody signed counts as 17.",
        least=1,
        most=10_000,
    )
    broadcast_messages_burst: int = key(
        _LIMITS.broadcast_messages_burst, "So many at once, after a pause.", least=32, most=100_000
    )
    broadcast_strangers_per_s: int = key(
        _LIMITS.broadcast_strangers_per_s,
        "New broadcasts a second of all nodes together that this one does not know.",
        least=1,
        most=100_000,
    )
    broadcast_strangers_burst: int = key(
        _LIMITS.broadcast_strangers_burst, "So many at once, after a pause.", least=32, most=1_000_000
    )

    @property
    def broadcast(self) -> BroadcastLimits:
        """What the network goes by."""
        return BroadcastLimits(**{item.name: getattr(self, item.name) for item in fields(BroadcastLimits)})
