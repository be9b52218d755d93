"""The DHT of a node answers the honest while others keep its streams, send it records in mass, or lie to it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import trio

from swarmharness.network import libp2p_kad_server
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.limits import Limits
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from tests.hostile.attacks_dht import ADD_PROVIDER, FIND_NODE, KAD, PUT_VALUE, kad_message, kad_peer
from tests.hostile.raw_peer import DATA, FIN, RawPeer, address_of, field, sources, tcp_address, varint
from tests.integration.network.worlds import World, libp2p_world

LIMITS = Limits(loopback=True, dht_records_max=256, dht_records_per_key_max=8)
KEY = b"\x05" * 32


@asynccontextmanager
async def attacked(limits: Limits = LIMITS) -> AsyncIterator[tuple[World, Any, Libp2pDht]]:
    """A node with a DHT; at the end an honest newcomer still publishes there, and is found."""
    with trio.fail_after(60):
        async with libp2p_world() as world:
            node = await world.node("node", NetworkSettings(limits=limits))
            dht = await world.dht(node)
            yield world, node, dht
            friend = await world.node("friend", NetworkSettings(limits=replace(limits, loopback=False)))
            friends = await world.dht(friend)
            await friends.add_peer(PeerAddress(node.peer_id, node.addresses))
            await friends.provide(KEY)
            found = await dht.find_providers(KEY, limit=64)
            assert friend.peer_id in [one.peer_id for one in found]


async def ask(peer: RawPeer, message: bytes) -> bytes:
    number = await peer.open_stream(KAD)
    await peer.send_frame(DATA, FIN, number, message)
    return await peer.read_stream(number)


def own_record(peer: RawPeer, port: int = 4001) -> bytes:
    identity = b"\x00" + bytes([len(peer.public_key)]) + peer.public_key
    return field(9, kad_peer(identity, [tcp_address("127.200.0.1", port)]))


async def test_streams_that_say_nothing_or_half_a_message_keep_nobody_waiting() -> None:
    async with AsyncExitStack() as peers, attacked() as (_, node, _):
        for source in sources(10, per_prefix=5):
            peer = await peers.enter_async_context(await RawPeer.meet(address_of(node.addresses), source=source))
            for _ in range(5):
                await peer.open_stream(KAD)
                await peer.send_frame(DATA, 0, await peer.open_stream(KAD), varint(10_000) + b"x")


async def test_records_in_mass_are_bounded_and_push_out_nobody() -> None:
    async with attacked() as (world, node, dht):
        early = await world.node("early", NetworkSettings())
        early_dht = await world.dht(early)
        await early_dht.add_peer(PeerAddress(node.peer_id, node.addresses))
        await early_dht.provide(KEY)
        for source in list(sources(12)):
            async with await RawPeer.meet(address_of(node.addresses), source=source) as peer:
                await ask(peer, kad_message(ADD_PROVIDER, b"/swarmharness/" + KEY, more=own_record(peer)))
                for _ in range(40):
                    await ask(peer, kad_message(ADD_PROVIDER, os.urandom(32), more=own_record(peer)))
        assert len(dht._records) <= LIMITS.dht_records_max
        found = await dht.find_providers(KEY, limit=64)
        assert early.peer_id in [one.peer_id for one in found]
        assert len(found) <= LIMITS.dht_records_per_key_max


async def test_values_and_records_of_others_and_keys_of_any_length_are_refused() -> None:
    async with attacked() as (_, node, dht), await RawPeer.meet(address_of(node.addresses)) as peer:
        stranger = field(9, kad_peer(b"\x12\x20" + bytes(32), [tcp_address("127.200.0.1", 4001)]))
        assert await ask(peer, kad_message(PUT_VALUE, KEY, more=field(3, field(1, KEY)))) == HELLO_ONLY
        assert await ask(peer, kad_message(ADD_PROVIDER, KEY, more=stranger)) == HELLO_ONLY
        assert await ask(peer, kad_message(FIND_NODE, bytes(81))) == HELLO_ONLY
        assert await ask(peer, varint(2**30)) == HELLO_ONLY
        assert await ask(peer, varint(5) + b"\xff" * 5) == HELLO_ONLY
        assert len(dht._records) == 0
        refused = node.refusals()
        assert (refused["DHT: value"], refused["DHT: record"], refused["DHT: message"]) == (1, 1, 3)


async def test_who_cannot_be_dialled_and_who_comes_to_a_full_key_are_refused_and_are_no_attackers() -> None:
    async with attacked() as (_, node, dht):
        for number in range(LIMITS.dht_records_per_key_max + 1):
            async with await RawPeer.meet(address_of(node.addresses), source=f"127.1.{number}.1") as peer:
                assert await ask(peer, kad_message(ADD_PROVIDER, KEY, more=own_record(peer, port=0))) == HELLO_ONLY
                await ask(peer, kad_message(ADD_PROVIDER, KEY, more=own_record(peer)))
        assert len(dht._records) == LIMITS.dht_records_per_key_max
        refused = node.refusals()
        assert (refused["DHT: no address"], refused["DHT: no place"]) == (LIMITS.dht_records_per_key_max + 1, 1)
        assert "DHT: record" not in refused


async def test_a_stream_on_which_nothing_comes_is_counted_unless_something_was_asked_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(libp2p_kad_server, "_STREAM_S", 0.5)
    async with attacked() as (_, node, _), await RawPeer.meet(address_of(node.addresses)) as peer:
        asked = await peer.open_stream(KAD)
        await peer.send_frame(DATA, 0, asked, kad_message(FIND_NODE, KEY))
        await peer.read_stream(asked)
        assert "DHT: silent" not in node.refusals()
        await peer.read_stream(await peer.open_stream(KAD))
        assert node.refusals()["DHT: silent"] == 1


async def test_who_asks_faster_than_anybody_needs_gets_no_answer() -> None:
    limits = replace(LIMITS, dht_requests_per_s=1)
    async with (
        attacked(limits) as (_, node, _),
        await RawPeer.meet(address_of(node.addresses), source="127.1.0.1") as peer,
    ):
        answers = [await ask(peer, kad_message(FIND_NODE, KEY)) for _ in range(15)]
        assert answers.count(HELLO_ONLY) >= 3
        assert node.refusals()["DHT: requests"] == answers.count(HELLO_ONLY)


HELLO_ONLY = b"\x13/multistream/1.0.0\n\x10/ipfs/kad/1.0.0\n"
"""The protocol was agreed on, and then the stream was reset."""
