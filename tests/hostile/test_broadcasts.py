"""GossipSub as a raw peer may speak it: floods, words about anything, messages that nobody signed."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from swarmharness.identity import Identity
from swarmharness.network.broadcast_limits import BroadcastLimits
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_gossip import AUTHOR_BURST, ENVELOPE_BYTES_MAX
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from tests.hostile.raw_peer import DATA, FIN, RST, RawPeer, address_of, varint

TOPIC = "/topic"
MESHSUB = "/meshsub/1.1.0"
LIMITS = BroadcastLimits()


class Heard:
    """A node that hears `TOPIC`, in this process, and what it heard."""

    def __init__(self, transport: Libp2pTransport, broadcast: Libp2pBroadcast) -> None:
        self.transport, self.broadcast = transport, broadcast
        self.data: list[bytes] = []
        broadcast.subscribe(TOPIC, self._hear)

    @property
    def pubsub(self) -> Any:
        return self.broadcast._pubsub

    async def _hear(self, forwarder: object, data: bytes) -> bool:
        self.data.append(data)
        return True

    async def refuses(self, reason: str, times: int = 1) -> None:
        """Wait until something was refused so often for a reason."""
        while self.transport.refusals().get(f"broadcast: {reason}", 0) < times:
            await trio.sleep(0.01)


@asynccontextmanager
async def listener(limits: BroadcastLimits = LIMITS) -> AsyncIterator[Heard]:
    """A node that hears; at the end it still hears what an honest neighbour says."""
    honest = b"from an honest neighbour"
    with trio.fail_after(30):
        async with (
            Libp2pTransport(NetworkSettings(broadcast=limits), Identity(bytes([1] * 32))) as transport,
            Libp2pBroadcast(transport) as broadcast,
        ):
            heard = Heard(transport, broadcast)
            yield heard
            async with (
                Libp2pTransport(NetworkSettings(listen=()), Identity(bytes([2] * 32))) as friend,
                Libp2pBroadcast(friend) as voice,
            ):
                voice.subscribe(TOPIC, heard._hear)
                friend.add_addresses(PeerAddress(transport.peer_id, transport.addresses))
                await friend.connect(transport.peer_id, timeout_s=10)
                number = 0
                while not any(data.startswith(honest) for data in heard.data):
                    number += 1
                    await voice.publish(TOPIC, honest + bytes([number]))
                    await trio.sleep(0.1)


@asynccontextmanager
async def neighbour_of(heard: Heard) -> AsyncIterator[tuple[RawPeer, int]]:
    """A raw peer with a stream for broadcasts."""
    async with await RawPeer.meet(address_of(heard.transport.addresses), source="127.1.0.1") as peer:
        yield peer, await peer.open_stream(MESHSUB)


async def say(peer: RawPeer, number: int, envelope: Any) -> None:
    data = envelope.SerializeToString()
    data = varint(len(data)) + data
    for start in range(0, len(data), 60_000):
        await peer.send_frame(DATA, 0, number, data[start : start + 60_000])


async def parted(peer: RawPeer, number: int) -> None:
    """Read until the node has ended a stream."""
    while True:
        _, flags, stream, _, _ = await peer.read_frame()
        if stream == number and flags & (RST | FIN):
            return


def forged(count: int, author: bytes = b"") -> Any:
    """Messages of authors who never signed them, or of one."""
    envelope = rpc_pb2.RPC()
    for _ in range(count):
        name = author or b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)
        envelope.publish.add(
            from_id=name, data=os.urandom(8), seqno=bytes(8), topicIDs=[TOPIC], signature=os.urandom(64)
        )
    return envelope


async def test_an_envelope_of_any_size_is_not_read() -> None:
    async with listener() as heard, neighbour_of(heard) as (peer, number):
        await peer.send_frame(DATA, 0, number, varint(ENVELOPE_BYTES_MAX + 1) + bytes(1000))
        await parted(peer, number)
        await heard.refuses("too large")


@pytest.mark.parametrize("data", [varint(100) + bytes([0xFF] * 100), b"\xff" * 10], ids=["envelope", "length"])
async def test_what_is_no_envelope_ends_the_stream(data: bytes) -> None:
    async with listener() as heard, neighbour_of(heard) as (peer, number):
        await peer.send_frame(DATA, 0, number, data)
        await parted(peer, number)
        await heard.refuses("malformed")


async def test_half_an_envelope_is_not_waited_for() -> None:
    async with listener(replace(LIMITS, broadcast_timeout_s=0.3)) as heard, neighbour_of(heard) as (peer, number):
        await peer.send_frame(DATA, 0, number, varint(100) + bytes(50))
        await parted(peer, number)
        await heard.refuses("too slow")


async def test_of_words_about_other_topics_nothing_is_kept() -> None:
    async with listener() as heard, neighbour_of(heard) as (peer, number):
        envelope = rpc_pb2.RPC()
        for name in range(1000):
            envelope.subscriptions.add(subscribe=True, topicid=f"/{name}")
            envelope.control.graft.add(topicID=f"/{name}")
            envelope.control.prune.add(topicID=f"/{name}", backoff=2**40)
            envelope.control.ihave.add(topicID=f"/{name}", messageIDs=[b"x"])
        await say(peer, number, envelope)
        await heard.refuses("unwanted")
        router = heard.pubsub.router
        assert not heard.pubsub.peer_topics
        assert not router.back_off
        assert not router.ihave_message_limits
        assert not heard.pubsub._pending_announce_retries


async def test_whom_a_prune_names_is_not_dialled() -> None:
    async with listener() as heard, neighbour_of(heard) as (peer, number):
        dialled: list[object] = []

        async def connect(peer_info: object) -> None:
            dialled.append(peer_info)

        heard.transport.host.connect = connect
        envelope = rpc_pb2.RPC()
        envelope.control.prune.add(topicID=TOPIC).peers.add(peerID=ID.from_base58(peer.peer_id).to_bytes())
        await say(peer, number, envelope)
        await heard.refuses("unwanted")
        await say(peer, number, forged(1))
        await heard.refuses("forged")  # what came before is done
        assert not dialled


async def test_who_passes_on_what_nobody_signed_is_soon_not_checked() -> None:
    limits = replace(LIMITS, broadcast_messages_per_s=1, broadcast_messages_burst=40)
    async with listener(limits) as heard, neighbour_of(heard) as (peer, number):
        await say(peer, number, forged(60))
        await heard.refuses("too many", 50)
        assert heard.transport.refusals()["broadcast: forged"] <= 8
        assert not heard.data


async def test_what_others_write_in_the_name_of_an_author_is_not_held_against_it() -> None:
    limits = replace(LIMITS, broadcast_messages_burst=2_000)
    async with listener(limits) as heard, neighbour_of(heard) as (peer, number):
        author = b"\x00\x24\x08\x01\x12\x20" + os.urandom(32)
        await say(peer, number, forged(60, author))
        await heard.refuses("forged", 60)
        assert heard.pubsub._authors.has(author.hex(), AUTHOR_BURST, time.monotonic_ns() // 1_000)


async def test_strangers_together_are_checked_no_more_than_so_often() -> None:
    limits = replace(LIMITS, broadcast_strangers_per_s=1, broadcast_strangers_burst=5)
    async with listener(limits) as heard, neighbour_of(heard) as (peer, number):
        await say(peer, number, forged(30))
        await heard.refuses("too many", 20)
        assert heard.transport.refusals()["broadcast: forged"] <= 8


async def test_a_flood_is_read_as_fast_as_anybody_needs() -> None:
    limits = replace(LIMITS, broadcast_bytes_per_s=1024, broadcast_bytes_burst=ENVELOPE_BYTES_MAX)
    async with listener(limits) as heard, neighbour_of(heard) as (peer, number):
        await peer.send_frame(DATA, 0, number, (varint(2) + b"\x12\x00") * 3000)
        await heard.refuses("too fast")
        assert heard.transport.refusals()["broadcast: unwanted"] <= ENVELOPE_BYTES_MAX // 512 + 2


async def test_a_change_of_mind_without_end_is_not_followed() -> None:
    async with listener() as heard, neighbour_of(heard) as (peer, number):
        for count in range(40):
            envelope = rpc_pb2.RPC()
            envelope.subscriptions.add(subscribe=count % 2 == 0, topicid=TOPIC)
            await say(peer, number, envelope)
        await heard.refuses("too many", 10)


async def test_a_neighbour_that_left_is_forgotten() -> None:
    async with listener() as heard:
        async with neighbour_of(heard) as (peer, number):
            envelope = forged(3)
            envelope.subscriptions.add(subscribe=True, topicid=TOPIC)
            envelope.control.graft.add(topicID=TOPIC)
            envelope.control.ihave.add(topicID=TOPIC, messageIDs=[b"x"])
            await say(peer, number, envelope)
            await heard.refuses("forged", 3)
            peer_id = ID.from_base58(peer.peer_id)
        pubsub, router = heard.pubsub, heard.pubsub.router
        scorer = router.scorer
        kept = [router.peer_protocol, router.dont_send_message_ids, router.ihave_message_limits, router.mesh[TOPIC]]
        kept += [scorer.behavior_penalty, scorer.invalid_messages, scorer.time_in_mesh, scorer.graft_flood_penalties]
        kept += [router._pending_messages, pubsub.peers, pubsub.peer_queues, pubsub.peer_topics.get(TOPIC, ())]
        while any(peer_id in one for one in kept):
            await trio.sleep(0.01)
