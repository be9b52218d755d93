"""Attacks on the way up: sockets, handshakes, identities, and what libp2p asks about them."""

from __future__ import annotations

import hashlib
import os
from itertools import count

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.hostile.attack import on_connection, on_socket
from tests.hostile.raw_channel import VERSION_1, RawChannel
from tests.hostile.raw_noise import Handshake
from tests.hostile.raw_peer import DATA, FIN, RawPeer, field, line, tcp_address, varint

HALF_OPEN_EACH = 10
_STAY_S = 2.5


def _slow_key() -> bytes:
    """Return an RSA key (PKCS #1) whose exponent is as long as its modulus: libp2p needs 20 ms for a check."""

    def sequence(kind: int, body: bytes) -> bytes:
        return bytes([kind, 0x82]) + len(body).to_bytes(2, "big") + body

    numbers = (bytes(1) + b"\xff" * 512, b"\x55" * 511 + b"\x57")
    return sequence(0x30, b"".join(sequence(2, number) for number in numbers))


@on_connection("crowd", "D1: identities that say who they are, stay 2.5 s and leave; others follow", drained=False)
async def crowd(peer: RawPeer) -> None:
    await introduce(peer)
    with trio.move_on_after(_STAY_S):
        await peer.drain()


async def introduce(peer: RawPeer) -> int:
    """Say who this is and where, and ask who that is, as libp2p's own nodes do; returns the stream of the answer."""
    source = peer.stream.socket.getsockname()[0]
    await peer.push_identify([tcp_address(source, 4001)])
    return await peer.open_stream("/ipfs/id/1.0.0")


@on_connection("squatters", "D7: identities that connect and say nothing")
async def squatters(_: RawPeer) -> None:
    await trio.sleep_forever()


@on_socket("half-open", f"{HALF_OPEN_EACH} sockets each that never begin a handshake")
async def half_open(peer: RawPeer) -> None:
    async def hold() -> None:
        while True:
            async with await _beside(peer) as other:
                await other.drain()

    async with trio.open_nursery() as nursery:
        for _ in range(HALF_OPEN_EACH):
            nursery.start_soon(hold)


async def _beside(peer: RawPeer) -> RawPeer:
    """Open another socket from the same address."""
    own, theirs = peer.stream.socket.getsockname(), peer.stream.socket.getpeername()
    return await RawPeer.connect(theirs, source=own[0])


@on_socket("half-noise", "handshakes that end after the first Noise message, one after the other")
async def half_noise(peer: RawPeer) -> None:
    await peer.stream.send_all(line("/multistream/1.0.0") + line("/noise"))
    await peer.send_noise(Handshake().first())
    await trio.sleep(0.2)


@on_socket("slow-handshake", "handshakes of one byte each half second")
async def slow_handshake(peer: RawPeer) -> None:
    first = Handshake().first()
    for byte in line("/multistream/1.0.0") + line("/noise") + len(first).to_bytes(2, "big") + first:
        await peer.stream.send_all(bytes([byte]))
        await trio.sleep(0.5)


@on_socket("wrong-prologue", "handshakes over another prologue, as fast as they fail", drained=False, pause_s=0)
async def wrong_prologue(peer: RawPeer) -> None:
    await peer.secure(b"swarm")


@on_socket("noise-rubbish", "Noise messages of random bytes, each on a new connection", pause_s=0)
async def noise_rubbish(peer: RawPeer) -> None:
    await peer.stream.send_all(line("/multistream/1.0.0") + line("/noise"))
    await peer.send_noise(Handshake().first())
    await peer.send_noise(os.urandom(65_535))
    await trio.sleep(0.05)


@on_socket("rubbish", "random bytes in place of any protocol", pause_s=0)
async def rubbish(peer: RawPeer) -> None:
    for _ in range(64):
        await peer.stream.send_all(os.urandom(16_384))


@on_socket("endless-line", "a line of multistream that announces a terabyte, and is sent, before any handshake")
async def endless_line(peer: RawPeer) -> None:
    await peer.stream.send_all(line("/multistream/1.0.0") + varint(2**40))
    while True:
        await peer.stream.send_all(bytes(2**17))


@on_connection("proposals", "protocols that nobody serves, one after the other on one stream")
async def proposals(peer: RawPeer) -> None:
    while True:
        number = await peer.open_stream()
        await peer.send_frame(DATA, 0, number, line("/multistream/1.0.0") + line("/no") * 10_000)


@on_socket("strange-keys", "handshakes under an RSA key that takes long to check", drained=False, pause_s=0)
async def strange_keys(peer: RawPeer) -> None:
    await peer.secure(payload=field(1, b"\x08\x00" + field(2, _slow_key())) + field(2, bytes(512)))
    await peer.drain()


@on_connection(
    "reconnect", "the same identities come, say hello, ask once, leave, and come again", drained=False, pause_s=0
)
async def reconnect(peer: RawPeer) -> None:
    source, port = peer.stream.socket.getsockname()[0], peer.stream.socket.getpeername()
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(source.encode()).digest())
    async with await RawPeer.meet(port, source=source, identity=key) as returned:
        channel = await RawChannel.open(returned)
        with trio.move_on_after(0.5):
            await channel.ask("registry.advert", VERSION_1)


@on_connection("many-addresses", "identify/push with 10,000 addresses and 10,000 protocols, again and again")
async def many_addresses(peer: RawPeer) -> None:
    for turn in count():
        addresses = [tcp_address(f"10.{turn % 256}.{number // 256}.{number % 256}", 4001) for number in range(10_000)]
        await peer.push_identify(addresses, [f"/p/{turn}/{number}" for number in range(10_000)])


@on_connection("identify", "asks who the node is on stream after stream")
async def identify(peer: RawPeer) -> None:
    while True:
        await peer.open_stream("/ipfs/id/1.0.0")


@on_connection("identify-unfinished", "identify/push that announces 2 GiB and sends a byte")
async def identify_unfinished(peer: RawPeer) -> None:
    for _ in range(1_000):
        number = await peer.open_stream("/ipfs/id/push/1.0.0")
        await peer.send_frame(DATA, 0, number, varint(2**31 - 1) + b"x")
    await trio.sleep_forever()


@on_connection("ping-protocol", "libp2p's ping on 100 streams, without end")
async def ping_protocol(peer: RawPeer) -> None:
    numbers = [await peer.open_stream("/ipfs/ping/1.0.0") for _ in range(100)]
    while True:
        for number in numbers:
            await peer.send_frame(DATA, 0, number, bytes(32))


@on_connection("unknown-protocols", "asks on stream after stream for protocols that nobody has")
async def unknown_protocols(peer: RawPeer) -> None:
    for turn in count():
        number = await peer.open_stream()
        await peer.send_frame(DATA, FIN, number, line("/multistream/1.0.0") + 50 * line(f"/none/{turn}"))


@on_connection("signed-rubbish", "identify/push with a wrong key and unreadable fields")
async def signed_rubbish(peer: RawPeer) -> None:
    while True:
        message = field(1, os.urandom(36)) + field(2, os.urandom(200)) + field(8, os.urandom(500))
        number = await peer.open_stream("/ipfs/id/push/1.0.0")
        await peer.send_frame(DATA, FIN, number, varint(len(message)) + message)
