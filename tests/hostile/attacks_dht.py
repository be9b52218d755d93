"""Attacks on the DHT: streams that say nothing, records in mass, requests and answers that are none."""

from __future__ import annotations

import os
from itertools import count

import trio

from tests.hostile.attack import on_connection
from tests.hostile.raw_answering import Answering
from tests.hostile.raw_channel import RawChannel
from tests.hostile.raw_peer import DATA, FIN, RawPeer, field, tcp_address, varint

KAD = "/ipfs/kad/1.0.0"
PUT_VALUE, GET_VALUE, ADD_PROVIDER, GET_PROVIDERS, FIND_NODE = range(5)


def kad_message(kind: int, key: bytes = b"", *, more: bytes = b"") -> bytes:
    """Return a message of the DHT behind its length; `more` holds further fields."""
    message = varint(1 << 3) + varint(kind) + field(2, key) + more
    return varint(len(message)) + message


def kad_peer(identity: bytes, addresses: list[bytes]) -> bytes:
    """Return what stands for a peer in a message."""
    return field(1, identity) + b"".join(field(2, address) for address in addresses)


async def _ask(peer: RawPeer, message: bytes) -> None:
    number = await peer.open_stream(KAD)
    await peer.send_frame(DATA, FIN, number, message)


@on_connection("dht-silent", "D8: 64 DHT streams that say nothing")
async def silent(peer: RawPeer) -> None:
    for _ in range(64):
        await peer.open_stream(KAD)
    await trio.sleep_forever()


@on_connection("dht-unfinished", "DHT requests that announce 64 KiB to 2 GiB and send a byte every second")
async def unfinished(peer: RawPeer) -> None:
    numbers = [await peer.open_stream(KAD) for _ in range(64)]
    for turn, number in enumerate(numbers):
        await peer.send_frame(DATA, 0, number, varint(2 ** (16 + turn % 16) - 1))
    while True:
        for number in numbers:
            await peer.send_frame(DATA, 0, number, b"x")
        await trio.sleep(1)


@on_connection("dht-look-ups", "DHT: look-ups of random keys without end")
async def look_ups(peer: RawPeer) -> None:
    while True:
        await _ask(peer, kad_message(FIND_NODE, os.urandom(32)))
        await _ask(peer, kad_message(GET_PROVIDERS, os.urandom(32)))


@on_connection("dht-providers", "DHT: provider records under ever new keys, each with 16 addresses")
async def providers(peer: RawPeer) -> None:
    identity = b"\x00" + bytes([len(peer.public_key)]) + peer.public_key
    addresses = [tcp_address(f"127.200.0.{number}", 4001) for number in range(16)]
    more = field(9, kad_peer(identity, addresses))
    while True:
        await _ask(peer, kad_message(ADD_PROVIDER, os.urandom(32), more=more))


@on_connection("dht-values", "DHT: values of 60 KB under ever new keys, and keys of 60 KB")
async def values(peer: RawPeer) -> None:
    for turn in count():
        key = os.urandom(32)
        record = field(1, key) + field(2, os.urandom(60_000))
        more = field(3, record) if turn % 2 else b""
        await _ask(peer, kad_message(PUT_VALUE, key if turn % 2 else os.urandom(60_000), more=more))


@on_connection("dht-peers", "DHT: requests that carry 1,000 peers with private and unreadable addresses")
async def peers(peer: RawPeer) -> None:
    def stranger() -> bytes:
        return kad_peer(b"\x12\x20" + os.urandom(32), [tcp_address("10.0.0.1", 1), os.urandom(20)])

    while True:
        crowd = b"".join(field(8, stranger()) + field(9, stranger()) for _ in range(500))
        await _ask(peer, kad_message(ADD_PROVIDER, os.urandom(32), more=crowd))


@on_connection("dht-rubbish", "DHT: messages of random bytes")
async def rubbish(peer: RawPeer) -> None:
    while True:
        body = os.urandom(300)
        await _ask(peer, varint(len(body)) + body)


@on_connection(
    "dht-answers", "DHT: answers of a thousand peers that nobody asked for, private and unreadable", drained=False
)
async def answers(peer: RawPeer) -> None:
    """Becomes known for the DHT by asking, and is asked by the node in its turn."""

    def crowd(_: bytes) -> bytes:
        peers = b"".join(
            field(part, kad_peer(b"\x12\x20" + os.urandom(32), [tcp_address(f"10.{turn % 256}.0.1", 1), os.urandom(9)]))
            for turn in range(500)
            for part in (8, 9)
        )
        return varint(1 << 3) + varint(GET_PROVIDERS) + peers

    await _be_asked(peer, Answering(peer, {KAD: crowd}))


async def _be_asked(peer: RawPeer, answering: Answering) -> None:
    """Say what makes a node put a peer into its routing table, and answer what it asks then."""
    await peer.push_identify([tcp_address(peer.stream.socket.getsockname()[0], 4001)], [KAD])
    await RawChannel.open(peer)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answering.serve)
        while True:
            await _ask(peer, kad_message(FIND_NODE, os.urandom(32)))
            await trio.sleep(0.2)


@on_connection("dht-slow-answers", "DHT: answers that announce 4 MiB and never come", drained=False, asked_for=True)
async def slow_answers(peer: RawPeer) -> None:
    await _be_asked(peer, Answering(peer, {KAD: lambda _: b""}, announced=2**22))
