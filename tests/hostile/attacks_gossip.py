"""Attacks on GossipSub: floods of subscriptions, control messages and messages that nobody signed."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count

from tests.hostile.attack import on_connection
from tests.hostile.raw_peer import DATA, RawPeer, field, varint

MESH = "/meshsub/1.1.0"
FORKS = b"/swarmharness/forks/1"
_ONE = varint(1 << 3) + b"\x01"


async def _flood(peer: RawPeer, rpc: Callable[[int], bytes]) -> None:
    number = await peer.open_stream(MESH)
    for turn in count():
        message = rpc(turn)
        await peer.send_paced(number, varint(len(message)) + message)


def _subscription(topic: bytes) -> bytes:
    return field(1, _ONE + field(2, topic))


def _control(number: int, *bodies: bytes) -> bytes:
    return field(3, b"".join(field(number, body) for body in bodies))


@on_connection("gossip-subscriptions", "GossipSub: 500 new topics in each message")
async def subscriptions(peer: RawPeer) -> None:
    await _flood(peer, lambda turn: b"".join(_subscription(b"/t/%d/%d" % (turn, number)) for number in range(500)))


@on_connection("gossip-messages", "GossipSub: messages of 64 KiB with signatures that are none")
async def messages(peer: RawPeer) -> None:
    def message(turn: int) -> bytes:
        signed = field(1, peer.public_key) + field(2, os.urandom(60_000)) + field(3, turn.to_bytes(8, "big"))
        return field(2, signed + field(4, FORKS) + field(5, bytes(64)) + field(6, peer.public_key))

    await _flood(peer, message)


@on_connection("gossip-ihave", "GossipSub: IHAVE with 1,000 ids that nobody has")
async def ihave(peer: RawPeer) -> None:
    def advertise(_: int) -> bytes:
        return _control(1, field(1, FORKS) + b"".join(field(2, os.urandom(32)) for _ in range(1_000)))

    await _flood(peer, advertise)


@on_connection("gossip-iwant", "GossipSub: IWANT of 1,000 ids that nobody has")
async def iwant(peer: RawPeer) -> None:
    await _flood(peer, lambda _: _control(2, b"".join(field(1, os.urandom(32)) for _ in range(1_000))))


@on_connection("gossip-graft", "GossipSub: GRAFT and PRUNE of one topic in turn")
async def graft(peer: RawPeer) -> None:
    def both(turn: int) -> bytes:
        return _subscription(FORKS) + _control(3 + turn % 2, *(field(1, FORKS) for _ in range(100)))

    await _flood(peer, both)


@on_connection("gossip-topics", "GossipSub: PRUNE of 100 topics with long names, new ones in each message")
async def topics(peer: RawPeer) -> None:
    await _flood(peer, lambda turn: _control(4, *(field(1, b"%d/%d" % (turn, n) + bytes(1000)) for n in range(100))))


@on_connection("gossip-grafts", "GossipSub: GRAFT of 10,000 topics, each of which has an answer")
async def grafts(peer: RawPeer) -> None:
    await _flood(peer, lambda turn: _control(3, *(field(1, b"%d" % number) for number in range(10_000))))


@on_connection("gossip-peers", "GossipSub: PRUNE that names 16 peers to be dialled")
async def peers(peer: RawPeer) -> None:
    def name(_: int) -> bytes:
        return _control(4, field(1, FORKS) + b"".join(field(2, field(1, os.urandom(38))) for _ in range(16)))

    await _flood(peer, name)


@on_connection("gossip-malformed", "GossipSub: messages of random bytes, and ones that announce 1 GiB")
async def malformed(peer: RawPeer) -> None:
    for turn in count():
        number = await peer.open_stream(MESH)
        body = os.urandom(200)
        await peer.send_frame(DATA, 0, number, varint(2**30 if turn % 2 else len(body)) + body)
