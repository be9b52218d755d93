"""Streams that say nothing, too much or too often: what a raw peer may open on a connection, and what it costs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from libp2p.peer.id import ID

from swarmharness.identity import Identity
from swarmharness.network.libp2p_lines import LINES_MAX
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.peer_book import ADDRESSES_MAX
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from swarmharness.network.stream_places import StreamLimits
from tests.hostile.raw_noise import STATIC_PUBLIC
from tests.hostile.raw_peer import (
    DATA,
    FIN,
    RST,
    SIGNED_PREFIX,
    RawPeer,
    address_of,
    field,
    line,
    tcp_address,
    varint,
)

IDENTIFY, PUSH, PING = "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0"
LIMITS = StreamLimits()
ONE_BYTE = b"\x13"
"""Of a greeting: a stream on which nothing at all is said is not even handed up."""


@asynccontextmanager
async def node_with(limits: StreamLimits = LIMITS) -> AsyncIterator[Libp2pTransport]:
    """A node in this process; at the end an honest peer can still meet it."""
    settings = NetworkSettings(streams=limits)
    with trio.fail_after(30):
        async with Libp2pTransport(settings, Identity(bytes([1] * 32))) as node:
            yield node
            async with Libp2pTransport(NetworkSettings(listen=()), Identity(bytes([2] * 32))) as friend:
                friend.add_addresses(PeerAddress(node.peer_id, node.addresses))
                await friend.connect(node.peer_id, timeout_s=10)


@asynccontextmanager
async def attacker_of(node: Libp2pTransport, number: int = 1) -> AsyncIterator[RawPeer]:
    async with await RawPeer.meet(address_of(node.addresses), source=f"127.1.0.{number}") as peer:
        yield peer


async def resets(peer: RawPeer, count: int) -> None:
    """Read until the node has reset so many streams: trio starts tasks in any order, so nobody knows which."""
    while count:
        _, flags, _, _, _ = await peer.read_frame()
        count -= bool(flags & RST)


async def test_a_stream_that_names_no_protocol_is_reset_in_time() -> None:
    async with node_with(replace(LIMITS, negotiating_timeout_s=0.3)) as node, attacker_of(node) as peer:
        for _ in range(8):
            await peer.open_stream(first=ONE_BYTE)
        await resets(peer, 8)
        assert node.refusals()["stream: no protocol"] == 8


async def test_a_peer_gets_few_streams_that_say_nothing() -> None:
    async with node_with(replace(LIMITS, negotiating_per_peer_max=3)) as node, attacker_of(node) as peer:
        for _ in range(8):
            await peer.open_stream(first=ONE_BYTE)
        await resets(peer, 5)
        assert node.refusals()["stream: many of one peer and kind (negotiating)"] == 5


async def test_a_crowd_of_silent_streams_keeps_nobody_out() -> None:
    limits = replace(LIMITS, negotiating_max=6, negotiating_per_peer_max=4)
    async with node_with(limits) as node, attacker_of(node, 1) as first, attacker_of(node, 2) as second:
        for _ in range(4):
            await first.open_stream(first=ONE_BYTE)
        while node.host.streams.counts()["negotiating"] < 4:
            await trio.sleep(0.01)
        for _ in range(4):
            await second.open_stream(first=ONE_BYTE)
        await resets(first, 1)
        await resets(second, 1)
        assert node.refusals()["stream: no place (negotiating)"] == 2


async def test_a_line_of_any_size_is_not_read_before_the_handshake() -> None:
    async with node_with() as node:
        async with await RawPeer.connect(address_of(node.addresses)) as peer:
            await peer.stream.send_all(line("/multistream/1.0.0") + varint(2**40) + bytes(10_000))
            await peer.drain()


async def test_a_line_of_any_size_is_not_read_from_a_stream() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        number = await peer.open_stream()
        await peer.send_frame(DATA, 0, number, line("/multistream/1.0.0") + varint(1 << 13) + bytes(10_000))
        await resets(peer, 1)
        assert node.refusals()["stream: no protocol"] == 1


async def test_nobody_proposes_without_end() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        number = await peer.open_stream()
        await peer.send_frame(DATA, 0, number, line("/multistream/1.0.0") + line("/no") * 500)
        answers = await peer.read_stream(number)
        assert answers.count(line("na")) == LINES_MAX - 1
        assert node.refusals()["stream: no protocol"] == 1


@pytest.mark.parametrize("flags", [FIN, RST])
async def test_who_thinks_better_of_a_stream_has_done_nothing_wrong(flags: int) -> None:
    async with node_with() as node, attacker_of(node) as peer:
        number = await peer.open_stream(first=ONE_BYTE)
        while not node.host.streams.counts()["negotiating"]:
            await trio.sleep(0.01)
        await peer.send_frame(DATA, flags, number)
        while node.host.streams.counts()["negotiating"]:
            await trio.sleep(0.01)
        assert not node.refusals()


async def test_of_who_is_refused_without_end_no_stream_is_looked_at() -> None:
    limits = replace(LIMITS, refused_streams_burst=3, refused_streams_per_minute=1)
    async with node_with(limits) as node, attacker_of(node) as peer:
        answers = []
        for _ in range(6):
            number = await peer.open_stream()
            await peer.send_frame(DATA, 0, number, line("/multistream/1.0.0") + line("/no") * LINES_MAX)
            answers.append(await peer.read_stream(number))
        assert [line("na") in answer for answer in answers] == [True] * 3 + [False] * 3
        assert node.refusals()["stream: too often (negotiating)"] == 3


async def test_who_asks_too_often_who_this_is_gets_no_answer() -> None:
    async with node_with(replace(LIMITS, identify_burst=2)) as node, attacker_of(node) as peer:
        answers = [await peer.read_stream(await peer.open_stream(IDENTIFY)) for _ in range(4)]
        assert [b"/swarmharness/channel/1" in answer for answer in answers] == [True, True, False, False]
        assert node.refusals()["stream: too often (identify)"] == 2


async def test_of_what_a_peer_says_of_itself_little_is_worked_out() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        await peer.push_identify([tcp_address(f"10.0.{n // 250}.{n % 250}", 4001) for n in range(1000)], ["/p"] * 500)
        store = node.host.get_peerstore()
        peer_id = ID.from_base58(peer.peer_id)
        while not store.has_peer(peer_id) or not store.addrs(peer_id):
            await trio.sleep(0.01)
        assert len(store.addrs(peer_id)) == ADDRESSES_MAX


async def test_a_peer_that_says_more_of_itself_than_anybody_needs_is_not_listened_to() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        number = await peer.open_stream(PUSH)
        await peer.send_frame(DATA, 0, number, varint(1 << 20) + bytes(1000))
        await peer.read_stream(number)
        assert node.refusals()["stream: too large (push)"] == 1


async def test_what_is_no_identify_message_is_counted() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        number = await peer.open_stream(PUSH)
        await peer.send_frame(DATA, 0, number, varint(100) + bytes([0xFF] * 100))
        await peer.read_stream(number)
        assert node.refusals()["stream: malformed (push)"] == 1


async def test_half_a_message_is_not_waited_for() -> None:
    async with node_with(replace(LIMITS, identify_timeout_s=0.3)) as node, attacker_of(node) as peer:
        number = await peer.open_stream(PUSH)
        await peer.send_frame(DATA, 0, number, varint(100) + bytes(10))
        await peer.read_stream(number)
        assert node.refusals()["stream: too slow (push)"] == 1


async def test_pings_are_answered_no_faster_than_anybody_needs() -> None:
    async with node_with(replace(LIMITS, ping_burst=3, ping_per_s=1)) as node, attacker_of(node) as peer:
        number = await peer.open_stream(PING)
        await peer.send_frame(DATA, 0, number, bytes(32 * 1000))
        received = bytearray()
        while node.refusals().get("stream: too often (ping)", 0) == 0 or received.count(bytes(32)) < 3:
            kind, _, stream, _, body = await peer.read_frame()
            received += body if kind == DATA and stream == number else b""
        assert received.count(bytes(32)) < 100  # one more for each second that this took


async def test_pings_that_are_answered_later_cost_the_peer_none_of_its_other_streams() -> None:
    limits = replace(LIMITS, ping_burst=1, ping_per_s=1000, refused_streams_burst=1)
    async with node_with(limits) as node, attacker_of(node) as peer:
        await peer.send_frame(DATA, 0, await peer.open_stream(PING), bytes(32 * 1000))
        while node.refusals().get("stream: too often (ping)", 0) < 2:
            await peer.read_frame()
        assert b"/swarmharness/channel/1" in await peer.read_stream(await peer.open_stream(IDENTIFY))


async def test_twenty_pings_in_a_row_are_no_flood() -> None:
    """As js-libp2p sends them: each on a stream of its own that ends at once; the node ends its side, too."""
    async with node_with() as node, attacker_of(node) as peer:
        for count in range(20):
            number = await peer.open_stream(PING)
            await peer.send_frame(DATA, FIN, number, bytes([count] * 32))
            received, ended = b"", 0
            while not ended:
                kind, flags, stream, _, body = await peer.read_frame()
                if stream == number:
                    ended = flags & (FIN | RST)
                    received += body if kind == DATA else b""
            assert ended == FIN
            assert received.endswith(bytes([count] * 32))
        assert node.refusals() == {}


async def test_a_key_that_no_peer_id_here_can_have_is_not_worked_out() -> None:
    """A check under a chosen RSA key takes a hundred times as long as under an Ed25519 one."""
    key = rsa.generate_private_key(65537, 2048)
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    signature = key.sign(SIGNED_PREFIX + STATIC_PUBLIC, PKCS1v15(), SHA256())
    async with node_with() as node, await RawPeer.connect(address_of(node.addresses)) as peer:
        await peer.secure(payload=field(1, b"\x08\x00" + field(2, der)) + field(2, signature))
        with pytest.raises(ConnectionError):
            await peer.multiplex()


async def test_a_peer_opens_few_channels() -> None:
    async with node_with() as node, attacker_of(node) as peer:
        for _ in range(6):
            await peer.open_stream("/swarmharness/channel/1")
        await resets(peer, 2)
        assert node.refusals()["stream: many of one peer and kind (channel)"] == 2
