"""`Broadcast` over libp2p's GossipSub 1.1 within our own limits; it judges no content.

libp2p's own spam protection counts per forwarder and topic, and drops what honest forwarders pass on in a burst.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11

from swarmharness.errors import InputError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.background import Background
from swarmharness.network.libp2p_gossip import LimitedGossip, LimitedPubsub
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import BROADCAST_BYTES_MAX, BroadcastHandler

HEARTBEAT_S = 1
DEGREE, DEGREE_LOW, DEGREE_HIGH = 6, 4, 12
_FIRST_LOOKS = 25
_LEAVE_S = 1.0


class Libp2pBroadcast:
    """Use as an async context manager, inside that of its transport; subscribe before peers connect."""

    def __init__(self, transport: Libp2pTransport) -> None:
        self._transport = transport
        self._fence = transport.fence
        self._handlers: dict[str, BroadcastHandler] = {}
        self._background = Background()
        self._pubsub: LimitedPubsub | None = None
        self._ended: LimitedPubsub | None = None
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
            if await self._is_heard(self._pubsub, topic):
                await self._pubsub.publish(topic, data)

    async def _is_heard(self, pubsub: LimitedPubsub, topic: str) -> bool:
        """Wait a moment for the first neighbours; tells whether there are any.

        libp2p would give a message to nobody then, and take it for said: to say it again would do nothing.
        """
        for _ in range(_FIRST_LOOKS):
            if pubsub.router.mesh.get(topic) or not pubsub.peer_topics.get(topic):
                break
            await trio.sleep(HEARTBEAT_S / 10)
        return bool(pubsub.router.mesh.get(topic))

    def _build(self) -> LimitedPubsub:
        router = LimitedGossip(
            protocols=[PROTOCOL_ID_V11],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            spam_protection_enabled=False,
            adaptive_gossip_enabled=False,
            eclipse_protection_enabled=False,  # it wants three networks in a mesh, and a home has one
        )
        return LimitedPubsub(self._transport, router, self._handlers)

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
