"""The twin of the GossipSub broadcast: a flood over whatever transport it is given; it never judges a message."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from types import TracebackType
from typing import Self

import trio

from swarmharness.errors import InputError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.background import Background
from swarmharness.network.ports import BROADCAST_BYTES_MAX, BroadcastHandler, Request, Transport

METHOD_PREFIX = "broadcast:"
SEEN_MAX = 4_096
_TIMEOUT_S = 5.0
_FORWARDED_AT_ONCE = 64


class MemoryBroadcast:
    """`Broadcast` over the channels of a transport; use as an async context manager, inside that of its transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._handlers: dict[str, BroadcastHandler] = {}
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._slots = trio.CapacityLimiter(_FORWARDED_AT_ONCE)
        self._background = Background()

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
        self._transport.handle(METHOD_PREFIX + topic, self._hear)

    async def publish(self, topic: str, data: bytes) -> None:
        """See `Broadcast`."""
        if len(data) > BROADCAST_BYTES_MAX:
            raise InputError(f"a broadcast of {len(data)} bytes exceeds the maximum, {BROADCAST_BYTES_MAX}")
        self._is_new(topic, data)
        self._pass_on(topic, data, self._transport.peer_id)

    async def _hear(self, request: Request) -> bytes:
        topic, data = request.method.removeprefix(METHOD_PREFIX), request.payload
        if len(data) > BROADCAST_BYTES_MAX:
            raise RefusedError(f"a broadcast of {len(data)} bytes exceeds the maximum, {BROADCAST_BYTES_MAX}")
        if self._is_new(topic, data) and await self._handlers[topic](request.peer_id, data):
            self._pass_on(topic, data, request.peer_id)
        return b""

    def _is_new(self, topic: str, data: bytes) -> bool:
        digest = hashlib.sha256(topic.encode() + b"\x00" + data).digest()
        if digest in self._seen:
            return False
        self._seen[digest] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)
        return True

    def _pass_on(self, topic: str, data: bytes, came_from: PeerId) -> None:
        for peer in self._transport.connected():
            if peer != came_from:
                self._background.nursery.start_soon(self._send, peer, topic, data)

    async def _send(self, peer: PeerId, topic: str, data: bytes) -> None:
        async with self._slots:
            try:
                await self._transport.call(peer, METHOD_PREFIX + topic, data, timeout_s=_TIMEOUT_S)
            except SwarmError:
                return  # it hears of it from another neighbour, or when it compares what it knows
