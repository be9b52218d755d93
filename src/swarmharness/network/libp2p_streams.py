"""Serves the streams that peers open, each in a place and within its time; it decides neither, and handles no message.

What has no place, names no protocol or takes too long is reset and counted, with its peer.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.ping import ID as PING_PROTOCOL
from libp2p.identity.identify.identify import ID as IDENTIFY_PROTOCOL
from libp2p.identity.identify_push.identify_push import ID_PUSH as PUSH_PROTOCOL
from libp2p.kad_dht.common import PROTOCOL_ID as KAD_PROTOCOL
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11 as MESHSUB_PROTOCOL

from swarmharness.network.stream_places import Kind, StreamDrop, StreamLimits, StreamPlaces
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.refusals import Refusals

CHANNEL_PROTOCOL = TProtocol("/swarmharness/channel/1")
BULK_PROTOCOL = TProtocol("/swarmharness/bulk/1")
_KINDS = {
    CHANNEL_PROTOCOL: Kind.CHANNEL,
    BULK_PROTOCOL: Kind.BULK,
    KAD_PROTOCOL: Kind.DHT,
    MESHSUB_PROTOCOL: Kind.BROADCAST,
    IDENTIFY_PROTOCOL: Kind.IDENTIFY,
    PUSH_PROTOCOL: Kind.PUSH,
    PING_PROTOCOL: Kind.PING,
}
_IN_A_MOMENT = frozenset({Kind.IDENTIFY, Kind.PUSH})
"""Streams that carry one message, and are over within `identify_timeout_s`."""
_OF_NO_KIND = frozenset({StreamDrop.PEER, StreamDrop.UNNAMED})
_RESET_S = 1.0

Negotiated = tuple[TProtocol | None, Callable[[Any], Awaitable[None]] | None]


@dataclass(frozen=True, slots=True)
class _Served:
    peer_id: str
    scope: trio.CancelScope


class StreamServer:
    """One for each host; `negotiate` agrees on a protocol and returns it with its handler."""

    def __init__(
        self, limits: StreamLimits, refused: Refusals, negotiate: Callable[[Any], Awaitable[Negotiated]]
    ) -> None:
        self._limits = limits
        self._places = StreamPlaces(limits)
        self._refused = refused
        self._negotiate = negotiate
        self._served: dict[Hashable, _Served] = {}
        per_minute, burst = limits.refused_streams_per_minute, limits.refused_streams_burst
        self._patience = TokenBuckets(per_s=per_minute, burst=60 * burst)

    def counts(self) -> dict[str, int]:
        """Return how many streams of others are open, by kind."""
        return self._places.counts()

    def refuse(self, drop: StreamDrop, kind: Kind, peer_id: str) -> None:
        """Count that a stream was refused; of a peer that has too many refused, none is looked at for a while."""
        self._patience.take(peer_id, 60, _now_us())
        self.note(drop, kind, peer_id)

    def note(self, drop: StreamDrop, kind: Kind, peer_id: str) -> None:
        """Count what is not held against the streams that the peer opens later."""
        self._refused.note(drop if drop in _OF_NO_KIND else f"{drop} ({kind})", peer_id)

    async def serve(self, stream: Any) -> None:
        """Serve a stream until its handler returns; it is not told why if it ends before."""
        peer_id = stream.muxed_conn.peer_id.to_base58()
        with trio.CancelScope() as scope:
            self._served[stream] = _Served(peer_id, scope)
            try:
                if await self._run(stream, peer_id):
                    return
            finally:
                self._places.leave(stream)
                self._served.pop(stream, None)
        with suppress(Exception), trio.move_on_after(_RESET_S):  # libp2p raises many kinds; there is nothing to mend
            await stream.reset()

    async def _run(self, stream: Any, peer_id: str) -> bool:
        """Return whether a handler had the stream until it returned."""
        if not self._patience.has(peer_id, 60, _now_us()):
            self._refused.note(f"{StreamDrop.OFTEN} ({Kind.NEGOTIATING})", peer_id)
            return False
        if not self._admit(*self._places.enter(stream, peer_id), peer_id, Kind.NEGOTIATING):
            return False
        agreed: Negotiated = (None, None)
        with trio.move_on_after(self._limits.negotiating_timeout_s), suppress(MultiselectError):
            agreed = await self._negotiate(stream)
        protocol, handler = agreed
        kind = _KINDS.get(protocol) if protocol is not None else None
        if handler is None or kind is None:
            self.refuse(StreamDrop.UNNAMED, Kind.NEGOTIATING, peer_id)
            return False
        if not self._admit(*self._places.move(stream, kind), peer_id, kind):
            return False
        stream.set_protocol(protocol)
        if kind not in _IN_A_MOMENT:
            await handler(stream)
            return True
        with trio.move_on_after(self._limits.identify_timeout_s) as scope:
            await handler(stream)
        if scope.cancelled_caught:
            self.refuse(StreamDrop.SLOW, kind, peer_id)
        return not scope.cancelled_caught

    def _admit(self, drop: StreamDrop | None, victim: Hashable | None, peer_id: str, kind: Kind) -> bool:
        if drop is not None:
            self.refuse(drop, kind, peer_id)
        if victim is not None:
            other = self._served[victim]
            self._refused.note(f"{StreamDrop.FULL} ({kind})", other.peer_id)
            self._places.leave(victim)
            other.scope.cancel()
        return drop is None


def _now_us() -> int:
    return time.monotonic_ns() // 1_000
