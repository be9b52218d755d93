"""Our channel's frames on a raw stream, written by hand; it keeps no window and no order that it is not told to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from struct import Struct

import trio

from tests.hostile.raw_peer import DATA, FIN, RST, WINDOW, RawPeer

CHANNEL, BULK = "/swarmharness/channel/1", "/swarmharness/bulk/1"
HELLO, REQUEST, RESPONSE, ERROR, CANCEL, CHANNEL_WINDOW, PING, PONG, BULK_REQUEST, BULK_RESPONSE, CLOSE = range(1, 12)
VERSION_1 = b"\x91\x01"
"""The message without fields: what `registry.advert` takes."""
_HEADER = Struct(">IBI")
_BULK = Struct(">IBQ")
_REQUEST = Struct(">IB")
_HELLO_BODY = b"\x94\x01\x91\x01\xa3raw\xce\x00\x10\x00\x00"
"""[1, [1], "raw", 1 MiB]."""


class RawChannel:
    """One stream with the channel's protocol; HELLO is sent and not waited for."""

    def __init__(self, peer: RawPeer, number: int) -> None:
        self.peer = peer
        self.number = number
        self._received = bytearray()
        self._lines_left = 2
        self._next_request = 1
        self._heard: set[int] = set()
        self._sending = trio.StrictFIFOLock()

    @classmethod
    async def open(cls, peer: RawPeer) -> RawChannel:
        """Ask for the protocol and say hello in one go."""
        channel = cls(peer, await peer.open_stream(CHANNEL))
        await channel.send(channel_frame(HELLO, 0, _HELLO_BODY))
        return channel

    async def send(self, data: bytes) -> None:
        """Send bytes, whole frames or not, within Yamux's window: beyond that, somebody must `attend`."""
        async with self._sending:
            await self.peer.send_paced(self.number, data)

    async def request(self, method: str, payload: bytes, *, timeout_ms: int = 30_000, kind: int = REQUEST) -> int:
        """Send a request and return its number."""
        number, self._next_request = self._next_request, self._next_request + 1
        await self.send(channel_frame(kind, number, request_body(method, payload, timeout_ms)))
        return number

    async def bulk(self, method: str, parts: Iterable[bytes], size: int) -> None:
        """Send a payload of `size` bytes on a stream of its own, within its window (somebody must `attend`).

        Its parts may be less than that: then it stalls. The stream is left open.
        """
        request = await self.request(method, size.to_bytes(8, "big"), kind=BULK_REQUEST)
        stream = await self.peer.open_stream(BULK)
        digest, sent = hashlib.sha256(), 0
        await self.peer.send_paced(stream, _BULK.pack(request, 0, size))
        for part in parts:
            digest.update(part)
            sent += len(part)
            await self.peer.send_paced(stream, part)
        if sent == size:
            await self.peer.send_paced(stream, digest.digest())

    async def next(self) -> tuple[int, int, bytes]:
        """Return kind, request and body of the next frame; gives the window back. ConnectionError at the end."""
        while (found := self._cut()) is None:
            await self._frame()
        return found

    async def _frame(self) -> None:
        """Take in one frame of Yamux."""
        kind, flags, stream, _, body = await self.peer.read_frame()
        if kind == DATA and body:
            await self.peer.send_frame(WINDOW, 0, stream, length=len(body))
        if stream == self.number:
            self._received += body if kind == DATA else b""
        if flags & (FIN | RST):
            self._heard.add(stream)
            if stream == self.number:
                raise ConnectionError("the node ended the channel")

    async def answer_to(self, request: int) -> tuple[int, bytes]:
        """Return kind and body of the answer to a request, answering heartbeats meanwhile."""
        while True:
            kind, number, body = await self.next()
            if kind == PING and not self._sending.locked():  # who sends is alive, and this task has windows to read
                await self.send(channel_frame(PONG, 0, body))
            elif number == request and kind in (RESPONSE, ERROR, BULK_RESPONSE):
                return kind, body

    async def heard(self, stream: int) -> None:
        """Return when the node has ended another stream (within two heartbeats: none is answered)."""
        while stream not in self._heard:
            await self._frame()

    async def attend(self) -> None:
        """Answer heartbeats and forget the rest, until the node ends it; then raise ConnectionError."""
        await self.answer_to(-1)

    async def ask(self, method: str, payload: bytes) -> bytes:
        """Return what a method answers; ConnectionError if that is an error."""
        kind, body = await self.answer_to(await self.request(method, payload))
        if kind != RESPONSE:
            raise ConnectionError(f"{method}: {body[1:].decode(errors='replace')}")
        return body

    def _cut(self) -> tuple[int, int, bytes] | None:
        data = self._received
        while self._lines_left:  # of multistream-select: both are shorter than 128 bytes
            if not data or len(data) < 1 + data[0]:
                return None
            del data[: 1 + data[0]]
            self._lines_left -= 1
        if len(data) < _HEADER.size:
            return None
        length, kind, number = _HEADER.unpack_from(data)
        if len(data) < 4 + length:
            return None
        body = bytes(data[_HEADER.size : 4 + length])
        del data[: 4 + length]
        return kind, number, body


def channel_frame(kind: int, request: int, body: bytes = b"", *, length: int = -1) -> bytes:
    """Return the bytes of a frame; `length` replaces the length of the body."""
    return _HEADER.pack(5 + (len(body) if length < 0 else length), kind, request) + body


def request_body(method: str, payload: bytes, timeout_ms: int = 30_000) -> bytes:
    """Return what a REQUEST holds."""
    return _REQUEST.pack(timeout_ms, len(method)) + method.encode() + payload
