"""Attacks on the WebSocket listener and on that of a private swarm, before any identity is known."""

from __future__ import annotations

import os

import trio

from tests.hostile.attack import on_socket
from tests.hostile.raw_peer import RawPeer

_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
)
_MIB = bytes(2**20)


def websocket_frame(opcode: int, body: bytes, *, final: bool = True, length: int = -1) -> bytes:
    """Return a masked frame; `length` replaces the length of the body."""
    size = len(body) if length < 0 else length
    return bytes([opcode | 0x80 * final, 0x80 | 127]) + size.to_bytes(8, "big") + bytes(4) + body


async def _upgrade(peer: RawPeer) -> None:
    """Become a WebSocket without waiting for the answer."""
    await peer.stream.send_all(_UPGRADE + b"\r\n")


@on_socket("websocket-headers", "WebSocket: an upgrade whose headers have no end", listener="websocket")
async def headers(peer: RawPeer) -> None:
    await peer.stream.send_all(_UPGRADE)
    while True:
        await peer.stream.send_all(b"X-%s: " % os.urandom(8).hex().encode() + b"x" * 60_000 + b"\r\n")


@on_socket("websocket-slow", "WebSocket: an upgrade of a byte each half second", listener="websocket")
async def slow(peer: RawPeer) -> None:
    for byte in _UPGRADE + b"\r\n":
        await peer.stream.send_all(bytes([byte]))
        await trio.sleep(0.5)


@on_socket("websocket-fragments", "WebSocket: one message in fragments of a byte without end", listener="websocket")
async def fragments(peer: RawPeer) -> None:
    await _upgrade(peer)
    await peer.stream.send_all(websocket_frame(2, b"x", final=False))
    while True:
        await peer.stream.send_all(websocket_frame(0, b"x", final=False) * 1_000)


@on_socket("websocket-empty", "WebSocket: one message in fragments without content", listener="websocket")
async def empty(peer: RawPeer) -> None:
    await _upgrade(peer)
    await trio.sleep(0.2)  # what comes with the request is not read as frames
    await peer.stream.send_all(websocket_frame(2, b"", final=False))
    while True:
        await peer.stream.send_all(websocket_frame(0, b"", final=False) * 1_000)


@on_socket("websocket-large", "WebSocket: a frame that announces 2 GiB, and is sent", listener="websocket")
async def large(peer: RawPeer) -> None:
    await _upgrade(peer)
    await peer.stream.send_all(websocket_frame(2, b"", length=2**31))
    while True:
        await peer.stream.send_all(_MIB)


@on_socket(
    "websocket-rubbish", "WebSocket: masked random bytes, each on a new connection", listener="websocket", pause_s=0
)
async def rubbish(peer: RawPeer) -> None:
    await _upgrade(peer)
    for opcode in (2, 1, 9, 8, 15):
        await peer.stream.send_all(websocket_frame(opcode, os.urandom(100)))
    await trio.sleep(0.05)


@on_socket("websocket-pings", "WebSocket: PINGs without end", listener="websocket")
async def pings(peer: RawPeer) -> None:
    await _upgrade(peer)
    while True:
        await peer.stream.send_all(websocket_frame(9, bytes(100)) * 500)


@on_socket("websocket-unused", "WebSocket: upgraded, and then nothing", listener="websocket")
async def unused(peer: RawPeer) -> None:
    await _upgrade(peer)
    await trio.sleep_forever()


@on_socket("private-half-open", "private swarm: a nonce, and then nothing", listener="private")
async def private_half_open(peer: RawPeer) -> None:
    await peer.stream.send_all(os.urandom(24))
    await trio.sleep_forever()


@on_socket(
    "private-wrong-key",
    "private swarm: bytes under a wrong key, on ever new connections",
    listener="private",
    pause_s=0,
)
async def private_wrong_key(peer: RawPeer) -> None:
    await peer.stream.send_all(os.urandom(24 + 512))
    await trio.sleep(0.02)


@on_socket("private-flood", "private swarm: bytes under a wrong key without end", listener="private")
async def private_flood(peer: RawPeer) -> None:
    while True:
        await peer.stream.send_all(os.urandom(65_536))
