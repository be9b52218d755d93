"""The two ports through which every service sees the network; this module holds no implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from swarmharness.identity import PeerId


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer says it can be reached: multiaddrs in text form, without the `/p2p/…` suffix."""

    peer_id: PeerId
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One call from a peer, as its handler sees it."""

    peer_id: PeerId
    method: str
    payload: bytes
    timeout_s: float
    """How long the caller will still wait; the handler is cancelled then, or when the caller gives up."""


@dataclass(frozen=True, slots=True)
class PeerEvent:
    """A peer's channel came up or went down."""

    peer_id: PeerId
    connected: bool
    reason: str = ""


Handler = Callable[[Request], Awaitable[bytes]]
"""Answers a call, or raises a SwarmError, which reaches the caller as the same class with the same message."""


class Transport(Protocol):
    """Calls between peers over one long-lived channel each; a contract test runs against every implementation.

    A call made while the peer is not connected dials its known addresses first. Delivery is at most once.
    """

    @property
    def peer_id(self) -> PeerId:
        """This node's own id."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """The concrete multiaddrs on which others can reach this node now; empty if nobody can."""

    @property
    def listening(self) -> tuple[str, ...]:
        """What it is bound to; 0.0.0.0 and :: stand for every interface. Empty if it does not listen."""

    def handle(self, method: str, handler: Handler) -> None:
        """Serve `method`; every method has exactly one handler, set before peers connect."""

    def add_addresses(self, peer: PeerAddress) -> None:
        """Remember where to dial a peer."""

    async def connect(self, peer_id: PeerId, *, timeout_s: float) -> None:
        """Have a live channel to the peer, or raise PeerLostError, RefusedError or DeadlineError."""

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Return the handler's answer, or raise its SwarmError, PeerLostError or DeadlineError.

        Payloads of any size up to the configured maximum are accepted; large ones travel on a bulk stream of their
        own, with a digest check. Cancelling the call cancels the handler. A call to the own id runs the own handler.
        """

    def connected(self) -> tuple[PeerId, ...]:
        """The peers with a live channel."""

    def permits(self, peer_id: PeerId) -> bool:
        """Tell whether this node's access rules allow the peer (N-1)."""

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        """A smoothed round-trip time to a connected peer, or None while unknown."""

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """Call `listener`, which must not block, on every PeerEvent from now on."""

    def watch_addresses(self, listener: Callable[[], None]) -> None:
        """Call `listener`, which must not block, whenever `addresses` changed: a machine moves between networks."""


class Dht(Protocol):
    """Provider records: who says that it can do what. Answers are hints, possibly stale, never proof."""

    async def add_peer(self, peer: PeerAddress) -> None:
        """Put a reachable peer into the routing table."""

    async def provide(self, key: bytes) -> None:
        """Publish that this node provides the 32-byte `key`; it expires unless repeated."""

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        """Return up to `limit` peers that said they provide `key`, in no order, possibly none."""


BROADCAST_BYTES_MAX = 16 * 1024
"""The most that one broadcast may carry."""

BroadcastHandler = Callable[[PeerId, bytes], Awaitable[bool]]
"""Told who passed a broadcast on and what it says; only if it returns True is it passed on further. Never raises."""


class Broadcast(Protocol):
    """Messages for the whole swarm, passed on from neighbour to neighbour; nobody is sure to hear one.

    For rare and small things that everybody can check without knowing the author. A contract test runs against every
    implementation.
    """

    def subscribe(self, topic: str, handler: BroadcastHandler) -> None:
        """Hear `topic`; every topic has exactly one handler, set before peers connect. Own messages are not heard."""

    async def publish(self, topic: str, data: bytes) -> None:
        """Give a message to the neighbours, and return without knowing whom it reaches.

        Raises InputError when it is larger than `BROADCAST_BYTES_MAX`.
        """
