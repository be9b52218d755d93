"""libp2p's identify, identify/push and ping, bounded in size and rate; they learn of peers what the peer book takes.

libp2p's own read up to 1 MiB, work through a thousand addresses of it, and answer as often as they are asked.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.host.ping import ID as PING_PROTOCOL
from libp2p.host.ping import PING_LENGTH
from libp2p.identity.identify.identify import ID as IDENTIFY_PROTOCOL
from libp2p.identity.identify.identify import identify_handler_for
from libp2p.identity.identify.pb.identify_pb2 import Identify
from libp2p.identity.identify_push.identify_push import ID_PUSH as PUSH_PROTOCOL
from libp2p.identity.update import update_peerstore_from_identify
from libp2p.io.exceptions import IncompleteReadError, MessageTooLarge
from libp2p.io.utils import read_exactly
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.utils.varint import read_varint_prefixed_bytes_limited

from swarmharness.network.libp2p_kad_wire import told_addresses
from swarmharness.network.peer_book import ADDRESSES_MAX
from swarmharness.network.stream_places import Kind, StreamDrop, StreamLimits
from swarmharness.network.token_buckets import TokenBuckets

MESSAGE_BYTES_MAX = 16 * 1024
"""Of a peer about itself: those of other implementations reach 4 KiB, with all their protocols and addresses."""
PROTOCOLS_MAX = 64
PROTOCOL_CHARS_MAX = 128
_PING_IDLE_S = 10.0

_Tell = Callable[[StreamDrop, Kind, str], None]


class Introductions:
    """One for each host, which knows by `handlers` what to serve."""

    def __init__(self, host: Any, limits: StreamLimits, refuse: _Tell, note: _Tell) -> None:
        """`refuse` is told of streams that are refused, `note` of what comes too fast and is answered later."""
        self._peerstore = host.get_peerstore()
        self._answer = identify_handler_for(host, use_varint_format=True)
        self._refuse, self._note = refuse, note
        self._asked = TokenBuckets(per_s=limits.identify_per_s, burst=limits.identify_burst)
        self._told = TokenBuckets(per_s=limits.identify_per_s, burst=limits.identify_burst)
        self._pinged = TokenBuckets(per_s=limits.ping_per_s, burst=limits.ping_burst)

    def handlers(self) -> dict[Any, Callable[[Any], Awaitable[None]]]:
        """Return the handler of each protocol."""
        return {IDENTIFY_PROTOCOL: self._on_identify, PUSH_PROTOCOL: self._on_push, PING_PROTOCOL: self._on_ping}

    async def learn(self, stream: Any, peer_id: ID, kind: Kind) -> bool:
        """Read what a peer says of itself and remember it; tells whether there was something that fits."""
        try:
            data = await read_varint_prefixed_bytes_limited(stream, MESSAGE_BYTES_MAX)
            message = Identify.FromString(data)
        except MessageTooLarge:
            self._refuse(StreamDrop.SIZE, kind, peer_id.to_base58())
            return False
        except DecodeError:
            self._refuse(StreamDrop.MALFORMED, kind, peer_id.to_base58())
            return False
        link = getattr(getattr(stream.muxed_conn, "secured_conn", None), "link", None)
        cut_down(message, "" if link is None else link.remote_host)
        await update_peerstore_from_identify(self._peerstore, peer_id, message)
        return True

    async def _on_identify(self, stream: Any) -> None:
        if await self._may(self._asked, stream, Kind.IDENTIFY):
            await self._answer(stream)

    async def _on_push(self, stream: Any) -> None:
        if await self._may(self._told, stream, Kind.PUSH):
            await self.learn(stream, stream.muxed_conn.peer_id, Kind.PUSH)
            await stream.close()

    async def _on_ping(self, stream: Any) -> None:
        """Answer as fast as anybody needs; who pings faster is answered later."""
        peer_id = stream.muxed_conn.peer_id.to_base58()
        while True:
            try:
                with trio.fail_after(_PING_IDLE_S):
                    ping = await read_exactly(stream, PING_LENGTH)
                    wait_us = self._pinged.wait_us(peer_id, 1, _now_us())
                    if wait_us:
                        self._note(StreamDrop.OFTEN, Kind.PING, peer_id)
                        await trio.sleep(wait_us / 1_000_000)
                    self._pinged.take(peer_id, 1, _now_us())
                    await stream.write(ping)
            except (trio.TooSlowError, IncompleteReadError, StreamEOF):
                await stream.close()
                return

    async def _may(self, buckets: TokenBuckets, stream: Any, kind: Kind) -> bool:
        peer_id = stream.muxed_conn.peer_id.to_base58()
        if buckets.take(peer_id, 1, _now_us()):
            return True
        self._refuse(StreamDrop.OFTEN, kind, peer_id)
        await stream.reset()
        return False


def cut_down(message: Any, host: str) -> None:
    """Leave of an identify message what is remembered of a peer connected from `host`, before libp2p works it out.

    Who is on the internet has no address in this node's own network (`told_addresses`). The signed record says the
    same again, under a key of the writer's choice.
    """
    addresses = [one.to_bytes() for one in told_addresses(message.listen_addrs, host, ADDRESSES_MAX)]
    protocols = [one for one in message.protocols[:PROTOCOLS_MAX] if len(one) <= PROTOCOL_CHARS_MAX]
    del message.listen_addrs[:]
    del message.protocols[:]
    message.listen_addrs.extend(addresses)
    message.protocols.extend(protocols)
    message.ClearField("signedPeerRecord")


def _now_us() -> int:
    return time.monotonic_ns() // 1_000
