"""The limits and choices of the network layer as frozen values; it reads no file and no environment."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from swarmharness.identity import PeerId
from swarmharness.network.broadcast_limits import BroadcastLimits
from swarmharness.network.limits import Limits
from swarmharness.network.stream_places import StreamLimits
from swarmharness.protocol.frame import HEADER_BYTES, METHOD_BYTES_MAX
from swarmharness.protocol.handshake import WINDOW_BYTES_LEAST, WINDOW_BYTES_MOST

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class ChannelSettings:
    """Limits of one channel, each enforced on what the peer sends as well as on what we send."""

    inline_bytes_max: int = 256 * KIB
    """Larger payloads travel on a bulk stream, or are refused where there is none."""
    window_bytes: int = 4 * MIB
    """Request bytes that the peer may have unfinished here."""
    calls_max: int = 1024
    """Own calls in flight; further ones wait for their turn."""
    handlers_max: int = 2048
    """The peer's calls in progress here; further ones are refused."""
    queue_bytes_max: int = 16 * MIB
    """Bytes queued towards a peer that does not read, before the channel is ended."""
    heartbeat_s: float = 3.0
    """0 switches the heartbeat off (local sockets)."""
    hello_timeout_s: float = 8.0
    call_time_max_s: float = math.inf
    """How long a call of the peer may take here, whatever time it gives itself."""
    close_timeout_s: float = 0.5
    """How long a farewell may take to be written."""
    own_user: bool = False
    """The other end is this node's own user, who is told the whole text of an error (control sockets)."""
    software: str = "swarmharness"

    def __post_init__(self) -> None:
        if self.window_bytes < 2 * self.frame_bytes_max:
            raise ValueError("window_bytes must be at least twice the largest frame")
        if not WINDOW_BYTES_LEAST <= self.window_bytes <= WINDOW_BYTES_MOST:
            raise ValueError(f"window_bytes must be {WINDOW_BYTES_LEAST} to {WINDOW_BYTES_MOST}")

    @property
    def frame_bytes_max(self) -> int:
        """The largest frame accepted: an inline payload with the longest method."""
        return HEADER_BYTES + 5 + METHOD_BYTES_MAX + self.inline_bytes_max


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who may talk to this node, by peer id. The deny list wins."""

    allow: frozenset[PeerId] | None = None
    """None allows everybody who is not denied."""
    deny: frozenset[PeerId] = frozenset()

    def permits(self, peer_id: str) -> bool:
        """Tell whether the peer may talk to this node (invariant N-1)."""
        return peer_id not in self.deny and (self.allow is None or peer_id in self.allow)


@dataclass(frozen=True, slots=True)
class BulkSettings:
    """Limits of payloads that travel on streams of their own."""

    payload_bytes_max: int = 256 * MIB
    memory_bytes_max: int = 512 * MIB
    """Announced bytes that this node may be receiving at a time, from all peers; one peer may have half of them, so
    twice `payload_bytes_max` is the least of use."""
    least_bytes_per_s: int = 4 * KIB
    """A payload that comes more slowly is given up: it holds memory. A slow mobile link (3G) carries six at 25 KB/s."""
    rate_period_s: float = 10.0
    """Over which the rate is measured, so that a link may pause for a moment."""
    announce_timeout_s: float = 5.0
    """How long a stream may wait for its announcement, and an announced payload for its stream."""
    streams_max: int = 64
    """Bulk streams of one peer at a time."""


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """Everything that the libp2p transport needs to know besides the identity."""

    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    """Multiaddrs `/ip4|ip6/…/tcp/PORT[/ws]`; empty for a node that only dials."""
    announce: tuple[str, ...] = ()
    """Replaces the addresses that are announced, for example behind a forwarded port."""
    psk_hex: str = ""
    """The pre-shared key of a private swarm: 64 hexadecimal digits, or empty for none."""
    access: AccessRules = field(default_factory=AccessRules)
    configured: frozenset[PeerId] = frozenset()
    """Peers that the owner named: bootstrap nodes, invites, the allow list. What is known of them is never evicted."""
    limits: Limits = field(default_factory=Limits)
    streams: StreamLimits = field(default_factory=StreamLimits)
    broadcast: BroadcastLimits = field(default_factory=BroadcastLimits)
    channel: ChannelSettings = field(default_factory=ChannelSettings)
    bulk: BulkSettings = field(default_factory=BulkSettings)
    dial_timeout_s: float = 8.0
    """For one address; a wrong pre-shared key shows only as this timeout."""
    reconnect_attempts: int = 6
    """After a channel is lost without a farewell; then the peer is forgotten until somebody calls it."""
    reconnect_first_s: float = 0.5
    reconnect_most_s: float = 8.0
    verbose: bool = False
    """Lets libp2p's own log messages through."""
