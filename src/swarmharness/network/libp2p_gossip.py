"""libp2p's GossipSub, which takes of its neighbours what `broadcast_limits` leaves, at a rate; it knows no content.

libp2p's own reads as fast as anybody sends, starts a task for each message, and keeps words about topics of any name.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import trio
from google.protobuf.message import DecodeError
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.pubsub.gossipsub import GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub, get_content_addressed_msg_id
from libp2p.pubsub.validators import signature_validator

from swarmharness.identity import PeerId
from swarmharness.network.broadcast_limits import BroadcastDrop, sieve
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import BROADCAST_BYTES_MAX
from swarmharness.network.token_buckets import TokenBuckets

SEEN_S = 600
ENVELOPE_BYTES_MAX = 8 * BROADCAST_BYTES_MAX
AUTHOR_PER_S, AUTHOR_BURST = 2, 64
_LEAST_BYTES = 512
"""What an envelope counts as, at least."""
_FORGED_AS_MANY = 16
_WANTS_PER_S = 3
_CHANGES_PER_S, _CHANGES_BURST = 1, 16
"""Of what one peer subscribes to, and of its streams: an honest one does either once."""
_BACK_OFFS_MAX = 4096
_RESET_S = 1.0
_STRANGERS = ""


class LimitedGossip(GossipSub):  # type: ignore[misc]
    """GossipSub that forgets what libp2p 0.8.1 keeps without end."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.max_iwant_requests_per_second = _WANTS_PER_S

    def _periodic_security_cleanup(self) -> None:
        """Runs with every heartbeat."""
        super()._periodic_security_cleanup()
        self.recent_message_deliveries.clear()  # for an adaptation that is switched off
        now_s = int(time.time())
        for topic, peers in self.back_off.items():
            left = [(peer, until_s) for peer, until_s in peers.items() if until_s > now_s]
            self.back_off[topic] = dict(left[-_BACK_OFFS_MAX:])


class LimitedPubsub(Pubsub):  # type: ignore[misc]
    """Drops what is too large or too much before libp2p checks its signature.

    Messages are known by their content, so that one proof found by many nodes is one message.
    """

    def __init__(self, transport: Libp2pTransport, router: LimitedGossip, topics: Collection[str]) -> None:
        super().__init__(
            transport.host,
            router,
            seen_ttl=SEEN_S,
            strict_signing=True,
            msg_id_constructor=get_content_addressed_msg_id,
        )
        self._topics = topics
        self._me = transport.host.get_id()
        self._fence = transport.fence
        self._refused = transport.refused
        self._is_known = transport.is_known
        self._network = transport.host.get_network()
        self._notifee = self._network.notifees[-1]
        limits = self._limits = transport.broadcast_limits
        self._bytes = TokenBuckets(per_s=limits.broadcast_bytes_per_s, burst=limits.broadcast_bytes_burst)
        self._forwarders = TokenBuckets(per_s=limits.broadcast_messages_per_s, burst=limits.broadcast_messages_burst)
        self._authors = TokenBuckets(per_s=AUTHOR_PER_S, burst=AUTHOR_BURST)
        self._strangers = TokenBuckets(per_s=limits.broadcast_strangers_per_s, burst=limits.broadcast_strangers_burst)
        self._changes = TokenBuckets(per_s=_CHANGES_PER_S, burst=_CHANGES_BURST)
        self._opened = TokenBuckets(per_s=_CHANGES_PER_S, burst=_CHANGES_BURST)

    # -- what comes -------------------------------------------------------------------------------------------------

    async def continuously_read_stream(self, stream: Any) -> None:
        """Take what a neighbour sends until it ends; what breaks the rules ends its streams."""
        peer_id: ID = stream.muxed_conn.peer_id
        name = peer_id.to_base58()
        if not self._opened.take(name, 1, _now_us()):
            self._refused.note(BroadcastDrop.MANY, name)
            await stream.reset()
            return
        try:
            while self.manager.is_running:
                data = await self._read(stream, name)
                await self._take(rpc_pb2.RPC.FromString(data), peer_id, name)
        except _BrokenRuleError as error:
            self._refused.note(error.drop, name)
        except DecodeError:
            self._refused.note(BroadcastDrop.MALFORMED, name)
        except (EOFError, IOException):
            return
        await self._part_with(stream, peer_id)

    async def _read(self, stream: Any, name: str) -> bytes:
        """Return the next envelope; of one that exceeds the rate no more than its size is read before its time."""
        byte = await _exactly(stream, 1)
        with self._in_time():
            size = await _size(stream, byte[0])
        if size > ENVELOPE_BYTES_MAX:
            raise _BrokenRuleError(BroadcastDrop.SIZE)
        cost = max(size, _LEAST_BYTES)
        wait_us = self._bytes.wait_us(name, cost, _now_us())
        if wait_us:
            self._refused.note(BroadcastDrop.RATE, name)
            await trio.sleep(wait_us / 1_000_000)
        self._bytes.take(name, cost, _now_us())
        with self._in_time():
            return await _exactly(stream, size)

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            with trio.fail_after(self._limits.broadcast_timeout_s):
                yield
        except trio.TooSlowError:
            raise _BrokenRuleError(BroadcastDrop.SLOW) from None

    async def _take(self, envelope: Any, peer_id: ID, name: str) -> None:
        if sieve(envelope, self._topics, bytes_max=BROADCAST_BYTES_MAX):
            self._refused.note(BroadcastDrop.UNWANTED, name)
        for message in envelope.publish:
            with self._fence.around("task", "push_msg", peer_id=name):
                await self.push_msg(peer_id, message)
        for subscription in envelope.subscriptions:
            if self._changes.take(name, 1, _now_us()):
                self.handle_subscription(peer_id, subscription)
            else:
                self._refused.note(BroadcastDrop.MANY, name)
        if envelope.HasField("control"):
            await self.router.handle_rpc(envelope, peer_id)

    async def push_msg(self, msg_forwarder: ID, msg: Any) -> None:
        """Take a message on, unless it is above a limit."""
        if msg_forwarder != self._me:
            if self._is_msg_seen(msg):
                return
            name, now_us = msg_forwarder.to_base58(), _now_us()
            if not (
                self._authors.has(author := msg.from_id.hex(), 1, now_us)
                and self._forwarders.take(name, 1, now_us)
                and (self._is_known(PeerId(name)) or self._strangers.take(_STRANGERS, 1, now_us))
            ):
                self._refused.note(BroadcastDrop.MANY, name)
                return
            if not _is_signed(msg):
                self._refused.note(BroadcastDrop.FORGED, name)
                self._forwarders.take(name, _FORGED_AS_MANY, now_us)
                return
            self._authors.take(author, 1, now_us)  # only now: anybody can write a message in its name
        await super().push_msg(msg_forwarder, msg)

    # -- who leaves -------------------------------------------------------------------------------------------------

    def _handle_dead_peer(self, peer_id: ID) -> None:
        """Forget a peer, also one to which no stream was ever open."""
        super()._handle_dead_peer(peer_id)
        if peer_id not in self.peers:
            self.router.remove_peer(peer_id)

    async def _part_with(self, stream: Any, peer_id: ID) -> None:
        """End both streams; libp2p opens its own anew while the peer stays connected, and forgets to reset the old."""
        own = self.peers.get(peer_id)
        self._handle_dead_peer(peer_id)
        for one in (stream, own):
            if one is not None:
                with self._fence.around("broadcast", "reset"), trio.move_on_after(_RESET_S):
                    await one.reset()

    # -- one after another ------------------------------------------------------------------------------------------

    def _clear_subscription_state(self) -> None:
        """Keep what peers subscribed to when this ends: they tell it once, and what follows needs to know."""

    async def follow(self, ended: LimitedPubsub) -> None:
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


class _BrokenRuleError(Exception):
    """A neighbour sent what no neighbour sends."""

    def __init__(self, drop: BroadcastDrop) -> None:
        super().__init__(drop)
        self.drop = drop


def _is_signed(message: Any) -> bool:
    try:
        signed: bool = signature_validator(message)
    except Exception:  # a stranger wrote the key, and libp2p raises many kinds
        return False
    return signed


async def _size(stream: Any, byte: int) -> int:
    """Return the length of an envelope, whose first byte was read."""
    size, shift = byte & 0x7F, 7
    while byte >= 0x80:
        if shift > 21:
            raise _BrokenRuleError(BroadcastDrop.MALFORMED)
        (byte,) = await _exactly(stream, 1)
        size |= (byte & 0x7F) << shift
        shift += 7
    return size


async def _exactly(stream: Any, size: int) -> bytes:
    """Return so many bytes; raises EOFError if the stream ends before."""
    data = bytearray()
    while len(data) < size:
        part = await stream.read(size - len(data))
        if not part:
            raise EOFError("the stream ended")
        data += part
    return bytes(data)


def _now_us() -> int:
    return time.monotonic_ns() // 1_000
