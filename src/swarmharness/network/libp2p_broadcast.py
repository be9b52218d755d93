"""`Broadcast` over libp2p's GossipSub 1.1, with own limits before any signature check; it judges no content.

libp2p's own spam protection counts per forwarder and topic, and drops what honest forwarders pass on in a burst.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pubsub import Pubsub, get_content_addressed_msg_id

from swarmharness.errors import InputError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.background import Background
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import BROADCAST_BYTES_MAX, BroadcastHandler
from swarmharness.network.token_buckets import TokenBuckets

HEARTBEAT_S = 1
DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 4, 12
SEEN_S = 600
RPC_BYTES_MAX = 8 * BROADCAST_BYTES_MAX
FORWARDER_PER_S, FORWARDER_BURST = 20, 256
_LEAVE_S = 1.0
AUTHOR_PER_S, AUTHOR_BURST = 2, 64


class Libp2pBroadcast:
    """Use as an async context manager, inside that of its transport; subscribe before peers connect."""

    def __init__(self, transport: Libp2pTransport) -> None:
        self._transport = transport
        self._fence = transport.fence
        self._handlers: dict[str, BroadcastHandler] = {}
        self._background = Background()
        self._pubsub: _LimitedPubsub | None = None
        self._ended: _LimitedPubsub | None = None
        """The one before, if it failed."""

    async def __aenter__(self) -> Self:
        await self._background.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._background.close(error)

    def subscribe(self, topic: str, handler: BroadcastHandler) -> None:
        """See `Broadcast`."""
        self._handlers[topic] = handler
        if len(self._handlers) == 1:
            self._pubsub = self._build()
            self._background.nursery.start_soon(self._fence.keep, "broadcast", self._run)
        if self._pubsub is not None:
            self._pubsub.set_topic_validator(topic, self._validator(topic, handler), True)

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Broadcast`."""
        if len(data) > BROADCAST_BYTES_MAX:
            raise InputError(f"a broadcast of {len(data)} bytes exceeds the maximum, {BROADCAST_BYTES_MAX}")
        if not self._handlers:
            raise UnavailableError(f"nothing can be published on {topic} before somebody subscribes here")
        if self._pubsub is None:
            return  # it rests after a failure, and nobody is sure to hear a broadcast
        with self._fence.around("broadcast", "publish"):
            await self._pubsub.wait_until_ready()
            await self._pubsub.publish(topic, data)

    def _build(self) -> _LimitedPubsub:
        router = GossipSub(
            protocols=[PROTOCOL_ID_V11],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,  # it wants three networks in a mesh, and a home has one
        )
        return _LimitedPubsub(self._transport, router)

    async def _run(self) -> None:
        """Run until it fails; it cannot run twice, so the next time has a new one, which hears of the same peers."""
        ended = self._ended
        if self._pubsub is None:
            self._pubsub = self._build()
            for topic, handler in self._handlers.items():
                self._pubsub.set_topic_validator(topic, self._validator(topic, handler), True)
        pubsub = self._pubsub
        try:
            async with self._fence.service(pubsub), self._fence.service(pubsub.router):
                await pubsub.wait_until_ready()
                for topic in self._handlers:
                    await pubsub.subscribe(topic)
                if ended is not None:
                    await pubsub.follow(ended)
                await trio.sleep_forever()
        finally:
            self._pubsub, self._ended = None, pubsub
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _LEAVE_S):
                await pubsub.leave()

    def _validator(self, topic: str, handler: BroadcastHandler) -> Callable[[ID, Any], Any]:
        me = self._transport.peer_id

        async def validate(forwarder: ID, message: Any) -> bool:
            peer = PeerId(forwarder.to_base58())
            if list(message.topicIDs) != [topic]:
                return False
            return peer == me or await handler(peer, message.data)

        return validate


class _LimitedPubsub(Pubsub):  # type: ignore[misc]
    """Drops what is too large or too much before libp2p checks its signature.

    Messages are known by their content, so that one proof found by many nodes is one message.
    """

    def __init__(self, transport: Libp2pTransport, router: GossipSub) -> None:
        super().__init__(
            transport.host,
            router,
            seen_ttl=SEEN_S,
            strict_signing=True,
            msg_id_constructor=get_content_addressed_msg_id,
            max_inbound_rpc_size=RPC_BYTES_MAX,
            max_subscriptions_per_peer=16,
        )
        self._me = transport.host.get_id()
        self._fence = transport.fence
        self._network = transport.host.get_network()
        self._notifee = self._network.notifees[-1]
        self._forwarders = TokenBuckets(per_s=FORWARDER_PER_S, burst=FORWARDER_BURST)
        self._authors = TokenBuckets(per_s=AUTHOR_PER_S, burst=AUTHOR_BURST)

    def _clear_subscription_state(self) -> None:
        """Keep what peers subscribed to when this ends: they tell it once, and what follows needs to know."""

    async def follow(self, ended: _LimitedPubsub) -> None:
        """Open streams to all who are connected, and take on what they subscribed to; they answer when they notice."""
        connected = {connection.muxed_conn.peer_id for connection in self._network.get_connections()}
        for topic, peers in ended.peer_topics.items():
            self.peer_topics.setdefault(topic, set()).update(peers & connected)
        for connection in self._network.get_connections():
            await self._notifee.connected(self._network, connection)

    async def leave(self) -> None:
        """Hear no more of connections, and reset the streams: the peers open others, to what comes after this."""
        self._network.remove_notifee(self._notifee)
        for connection in self._network.get_connections():
            for stream in connection.get_streams():
                if stream.get_protocol() in self.protocols:
                    with self._fence.around("broadcast", "reset"):
                        await stream.reset()

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Take a message on, unless it is above a limit."""
        if msg_forwarder != self._me:
            now_us = time.monotonic_ns() // 1_000
            if len(msg.data) > BROADCAST_BYTES_MAX or len(msg.from_id) > 64 or self._is_msg_seen(msg):
                return
            if not self._forwarders.take(msg_forwarder.to_base58(), 1, now_us):
                return
            if not self._authors.take(msg.from_id.hex(), 1, now_us):
                return
        await super().push_msg(msg_forwarder, msg)
