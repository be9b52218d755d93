"""Connections that never get as far as a peer id: WebSockets, pre-shared keys and Noise as strangers may speak them."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

import pytest
import trio
from cryptography.exceptions import InvalidTag

from swarmharness.errors import PeerLostError
from swarmharness.identity import Identity
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.libp2p_websocket import HALF_OPEN_BYTES_MAX
from swarmharness.network.limits import Limits
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.network.settings import NetworkSettings
from tests.hostile.raw_peer import RawPeer, line, sources

TCP, WS = "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
CONTINUATION, BINARY, PING = 0, 2, 9
QUICK = Limits(hello_timeout_s=0.2)
SETTINGS = NetworkSettings(listen=(TCP,))


def frame(kind: int, data: bytes = b"", *, last: bool = True) -> bytes:
    """Return a frame of WebSocket, masked with zeros."""
    size = bytes([0x80 | len(data)]) if len(data) < 126 else b"\xff" + len(data).to_bytes(8, "big")
    return bytes([last << 7 | kind]) + size + bytes(4) + data


@asynccontextmanager
async def node_with(settings: NetworkSettings = SETTINGS) -> AsyncIterator[Libp2pTransport]:
    """A node in this process, which had no fault; at the end an honest peer can still meet it and be heard."""

    async def echo(request: Request) -> bytes:
        return request.payload

    with trio.fail_after(30):
        async with Libp2pTransport(settings, Identity(bytes([1] * 32))) as node:
            node.handle("echo", echo)
            yield node
            async with Libp2pTransport(replace(settings, listen=()), Identity(bytes([2] * 32))) as friend:
                friend.add_addresses(PeerAddress(node.peer_id, node.addresses))
                large = bytes(3 * HALF_OPEN_BYTES_MAX)
                assert await friend.call(node.peer_id, "echo", large, timeout_s=10) == large
            assert not [reason for reason in node.refusals() if reason.startswith("libp2p")]


@asynccontextmanager
async def stranger_to(node: Libp2pTransport, source: str = "127.1.0.1") -> AsyncIterator[RawPeer]:
    host, port = node.addresses[0].strip("/").split("/")[1:4:2]
    async with await RawPeer.connect((host, int(port)), source=source) as peer:
        yield peer


@asynccontextmanager
async def websocket_to(limits: Limits = QUICK) -> AsyncIterator[tuple[Libp2pTransport, RawPeer]]:
    """A node and a stranger that has a WebSocket to it."""
    async with node_with(replace(SETTINGS, listen=(WS,), limits=limits)) as node, stranger_to(node) as peer:
        await peer.stream.send_all(UPGRADE)
        while b"\r\n\r\n" not in peer._data:
            peer._data += await peer.stream.receive_some(4096)
        yield node, peer


async def refuses(node: Libp2pTransport, reason: str, times: int = 1) -> None:
    while node.refusals().get(f"connection: {reason}", 0) < times:
        await trio.sleep(0.01)


async def test_a_header_without_end_is_not_read() -> None:
    async with node_with(replace(SETTINGS, listen=(WS,))) as node, stranger_to(node) as peer:
        await peer.stream.send_all(b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)
        await peer.drain()
        await refuses(node, "broken handshake")


async def test_who_asks_for_no_websocket_is_dropped_in_time() -> None:
    async with node_with(replace(SETTINGS, listen=(WS,), limits=QUICK)) as node, stranger_to(node) as peer:
        await peer.stream.send_all(UPGRADE[:-2])
        await peer.drain()
        await refuses(node, "no handshake")


@pytest.mark.parametrize(
    "rubbish",
    [os.urandom(1000), b"\x82\x05hello", frame(3), frame(CONTINUATION), frame(BINARY, line("/no such thing") * 50)],
    ids=["random", "not masked", "unknown kind", "no beginning", "proposals"],
)
async def test_rubbish_on_a_websocket_ends_it_and_is_no_fault(rubbish: bytes) -> None:
    async with websocket_to() as (node, peer):
        await peer.stream.send_all(rubbish)
        await peer.drain()
        await refuses(node, "broken handshake")


async def test_a_message_of_any_size_is_not_kept_before_the_handshake() -> None:
    async with websocket_to() as (node, peer):
        await peer.stream.send_all(frame(BINARY, bytes(HALF_OPEN_BYTES_MAX + 1)))
        await peer.drain()
        await refuses(node, "broken handshake")


@pytest.mark.parametrize(
    "frames",
    [frame(PING) * 200, frame(BINARY, last=False) + frame(CONTINUATION, last=False) * 200, frame(10, b"pong") * 200],
    ids=["pings", "fragments", "pongs"],
)
async def test_frames_without_content_are_few(frames: bytes) -> None:
    async with websocket_to() as (node, peer):
        await peer.stream.send_all(frames)
        await peer.drain()
        await refuses(node, "empty frames")


async def test_a_few_pings_cost_nobody_the_connection() -> None:
    async with websocket_to() as (node, peer):
        await peer.stream.send_all(frame(PING, b"ping") * 20 + frame(BINARY, line("/multistream/1.0.0")))
        while line("/multistream/1.0.0") not in peer._data or peer._data.count(b"\x8a\x04ping") < 20:
            peer._data += await peer.stream.receive_some(4096)
        assert not [reason for reason in node.refusals() if "empty" in reason]


async def test_who_has_another_key_of_a_private_swarm_is_refused_and_counted() -> None:
    async with node_with(replace(SETTINGS, psk_hex="11" * 32)) as node, stranger_to(node) as peer:
        await peer.stream.send_all(os.urandom(8) + b"\xff" * 1000)
        await peer.drain()
        await refuses(node, "broken handshake")


@pytest.mark.parametrize("count", [0, 8], ids=["nothing", "a nonce"])
async def test_who_says_no_more_to_a_private_swarm_is_dropped_in_time(count: int) -> None:
    settings = replace(SETTINGS, psk_hex="11" * 32, limits=QUICK)
    async with node_with(settings) as node, stranger_to(node) as peer:
        await peer.stream.send_all(bytes(count))
        await peer.drain()
        await refuses(node, "no handshake")


async def test_another_prologue_is_a_broken_handshake() -> None:
    async with node_with() as node, stranger_to(node) as peer:
        with pytest.raises(InvalidTag):
            await peer.secure(prologue=b"another protocol")
        await peer.send_noise(os.urandom(200))
        await peer.drain()
        await refuses(node, "broken handshake")


async def test_a_handshake_that_comes_byte_by_byte_has_no_more_time_than_others() -> None:
    async with node_with(replace(SETTINGS, limits=QUICK)) as node, stranger_to(node) as peer:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.drain)
            for byte in line("/multistream/1.0.0") * 20:
                try:
                    await peer.stream.send_all(bytes([byte]))
                except trio.BrokenResourceError:
                    break
                await trio.sleep(0.05)
        await refuses(node, "no handshake")


async def test_half_open_handshakes_have_places_and_keep_nobody_out() -> None:
    limits = Limits()
    async with node_with(replace(SETTINGS, limits=limits)) as node, AsyncExitStack() as stack:
        for source in sources(300):
            peer = await stack.enter_async_context(stranger_to(node, source))
            await peer.stream.send_all(line("/multistream/1.0.0") + line("/noise"))
        await refuses(node, "half-open", 300 - limits.half_open_max)
        assert node.connections()["half_open"] == limits.half_open_max


@pytest.mark.parametrize(
    "sent",
    [b"\x02\x7f" + (1 << 25).to_bytes(8, "big") + bytes(1 << 25), b"\x89\x00" * 1000],
    ids=["a message", "pings"],
)
async def test_a_listener_cannot_make_who_dials_it_keep_or_answer_much(sent: bytes) -> None:
    """Whoever has an advert has its addresses dialled."""
    broken = trio.Event()

    async def listen(stream: trio.SocketStream) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += await stream.receive_some(4096)
        key = asked.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        answer = b"HTTP/1.1 101 -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept
        await stream.send_all(answer + b"\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            await stream.send_all(sent)
            while await stream.receive_some(4096):
                pass
        broken.set()

    async with node_with() as node, trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, listen, [listener])
        stranger = Identity(bytes([3] * 32)).peer_id
        port = listener.socket.getsockname()[1]
        node.add_addresses(PeerAddress(stranger, (f"/ip4/127.0.0.1/tcp/{port}/ws",)))
        with pytest.raises(PeerLostError), trio.fail_after(5):
            await node.connect(stranger, timeout_s=5)
        await broken.wait()
        nursery.cancel_scope.cancel()
