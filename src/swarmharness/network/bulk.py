"""Moves one large payload on a stream of its own, bounded and digest-checked; it never decides what to send.

On the stream: `u32 request id | u8 direction | u64 size | payload | SHA-256 of the payload`.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import IntEnum
from struct import Struct
from typing import Protocol

import trio

from swarmharness.errors import InputError, PeerLostError, ProtocolError, RefusedError, SwarmError
from swarmharness.network.budgets import Share
from swarmharness.network.byte_stream import STREAM_ERRORS, ByteStream
from swarmharness.network.settings import BulkSettings

_HEADER = Struct(">IBQ")
_DIGEST_BYTES = 32
_READ_BYTES = 1024 * 1024
_NO_MEMORY = (
    "too many large payloads are under way there: try again when some are done, or with fewer items at a time "
    "(its owner can give you a credit line, or raise limits.strangers_payload_mib)"
)
WRITE_BYTES = 65_507
"""What fits one Yamux frame (12 bytes of header) inside one Noise message (65,519 bytes): no runt is sent."""


class Direction(IntEnum):
    """Which part of a call the payload is."""

    REQUEST = 0
    RESPONSE = 1


class BulkStream(ByteStream, Protocol):
    """A stream that can also be abandoned at once."""

    async def reset(self) -> None:
        """Tell the other side that nothing more comes."""


class _Arrival:
    """A payload that was announced."""

    __slots__ = ("done", "error", "found", "payload", "reading", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.found = trio.Event()
        self.done = trio.Event()
        self.reading = trio.CancelScope()
        self.payload = b""
        self.error: SwarmError | None = None


_Key = tuple[int, Direction]


class BulkExchange:
    """The large payloads of one peer, both ways. `refuse` is told the reason of every refusal.

    `memory` is the peer's share of what all peers of a node may hold.
    """

    def __init__(
        self,
        open_stream: Callable[[], Awaitable[BulkStream]],
        settings: BulkSettings,
        memory: Share,
        refuse: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._open_stream = open_stream
        self._settings = settings
        self._memory = memory
        self._refuse = refuse
        self._arrivals: dict[_Key, _Arrival] = {}
        self._due_bytes = max(1, int(settings.least_bytes_per_s * settings.rate_period_s))
        self._announced = trio.Event()
        self._streams = 0
        self._closed = ""

    def check_size(self, size: int) -> None:
        """Raise InputError if a payload is larger than anybody accepts."""
        if size > self._settings.payload_bytes_max:
            raise InputError(
                f"a payload of {size} bytes exceeds the maximum of {self._settings.payload_bytes_max} bytes"
            ).for_peers()

    async def receive(self, request_id: int, direction: Direction, size: int) -> bytes:
        """Return a payload that the peer announced, which is held against nobody then; raises as `receiving`."""
        async with self.receiving(request_id, direction, size) as payload:
            return payload

    @asynccontextmanager
    async def receiving(self, request_id: int, direction: Direction, size: int) -> AsyncIterator[bytes]:
        """Give a payload that the peer announced; until the end of the context its memory is the peer's.

        Raises InputError or RefusedError before anything is kept (invariant N-2), ProtocolError for a wrong digest
        or size, and PeerLostError, also when it comes more slowly than the least rate.
        """
        awaited = direction is Direction.RESPONSE
        arrival = self._expect((request_id, direction), size, awaited=awaited)
        try:
            try:
                payload = await self._arrived(arrival)
            finally:
                del self._arrivals[request_id, direction]
                arrival.reading.cancel()
            yield payload
        finally:
            self._memory.give_back(size, awaited=awaited)

    async def _arrived(self, arrival: _Arrival) -> bytes:
        with trio.move_on_after(self._settings.announce_timeout_s):
            await arrival.found.wait()
        if not arrival.found.is_set():
            raise PeerLostError("the announced payload did not come")
        await arrival.done.wait()
        if arrival.error is not None:
            raise arrival.error
        payload, arrival.payload = arrival.payload, b""
        return payload

    def _expect(self, key: _Key, size: int, *, awaited: bool) -> _Arrival:
        if self._closed:
            raise PeerLostError(f"the channel ended: {self._closed}")
        if size > self._settings.payload_bytes_max:
            self._refuse("oversized")
            self.check_size(size)
        if key in self._arrivals:
            raise ProtocolError(f"payload {key[0]} was announced twice")
        if not self._memory.take(size, awaited=awaited):
            self._refuse("bulk memory")
            raise RefusedError(_NO_MEMORY).for_peers()
        arrival = self._arrivals[key] = _Arrival(size)
        self._announced.set()
        self._announced = trio.Event()
        return arrival

    async def send(self, request_id: int, direction: Direction, payload: bytes) -> None:
        """Send a payload whose announcement is already queued; raises PeerLostError."""
        try:
            stream = await self._open_stream()
        except STREAM_ERRORS:
            raise PeerLostError("no stream could be opened for a large payload") from None
        try:
            await stream.send_all(_HEADER.pack(request_id, direction, len(payload)))
            digest, view = hashlib.sha256(), memoryview(payload)
            for start in range(0, len(payload), WRITE_BYTES):
                part = view[start : start + WRITE_BYTES]
                digest.update(part)
                await stream.send_all(bytes(part))
            await stream.send_all(digest.digest())
            await stream.receive_some(1)  # the end of the stream says that all was read
            await stream.aclose()
        except BaseException as error:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await stream.reset()
            if isinstance(error, STREAM_ERRORS):
                raise PeerLostError("the stream of a large payload broke") from None
            raise

    async def accept(self, stream: BulkStream) -> bool:
        """Read a stream that the peer opened; returns whether it brought a payload of this channel.

        Never raises on what the peer does: `receive` reports it.
        """
        if self._streams >= self._settings.streams_max or self._closed:
            self._refuse("bulk stream")
            await stream.reset()
            return False
        self._streams += 1
        complete = False
        try:
            complete = await self._accept(stream)
        except STREAM_ERRORS:
            return False
        finally:
            self._streams -= 1
            if not complete:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await stream.reset()
        return complete

    def close(self, reason: str) -> None:
        """Fail everything that is expected."""
        self._closed = reason or "closed"
        for arrival in self._arrivals.values():
            arrival.error = arrival.error or PeerLostError(f"the channel ended: {reason}")
            arrival.found.set()
            arrival.done.set()
            arrival.reading.cancel()
        self._announced.set()

    async def _accept(self, stream: BulkStream) -> bool:
        reader = _Reader(stream)
        arrival: _Arrival | None = None
        size = 0
        with trio.move_on_after(self._settings.announce_timeout_s):
            request_id, direction, size = _HEADER.unpack(await reader.exactly(_HEADER.size))
            while not self._closed:
                arrival = self._arrivals.get((request_id, direction))
                if arrival is not None:
                    break
                await self._announced.wait()
        if arrival is None or arrival.found.is_set():
            self._refuse("bulk stream")
            return False
        arrival.found.set()
        with arrival.reading:
            try:
                arrival.payload = await self._read(reader, arrival, size)
                await stream.aclose()
            except SwarmError as error:
                arrival.error = arrival.error or error
            except STREAM_ERRORS:
                arrival.error = arrival.error or PeerLostError("the stream of a large payload broke")
            else:
                return True
            finally:
                arrival.done.set()
        return False

    async def _read(self, reader: _Reader, arrival: _Arrival, size: int) -> bytes:
        if size != arrival.size:
            self._refuse("bulk size")
            raise ProtocolError(f"a payload of {size} bytes came where {arrival.size} were announced")
        digest = hashlib.sha256()
        parts: list[bytes] = []
        missing = size
        while missing:
            due = min(missing, self._due_bytes)
            with trio.move_on_after(self._settings.rate_period_s):
                while due > 0:
                    part = await reader.some(missing)
                    digest.update(part)
                    parts.append(part)
                    missing -= len(part)
                    due -= len(part)
            if due > 0:
                self._refuse("bulk rate")
                raise PeerLostError(
                    f"a large payload came at less than {self._settings.least_bytes_per_s} bytes a second"
                ).for_peers()
        if await reader.exactly(_DIGEST_BYTES) != digest.digest():
            self._refuse("digest")
            raise ProtocolError("a large payload arrived with a wrong digest")
        return b"".join(parts)


class _Reader:
    """Reads exact counts from a stream that returns any."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._left = b""

    async def some(self, most: int) -> bytes:
        data = self._left or bytes(await self._stream.receive_some(min(most, _READ_BYTES)))
        if not data:
            raise PeerLostError("the stream of a large payload ended early")
        self._left = data[most:]
        return data[:most] if self._left else data

    async def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += await self.some(count - len(data))
        return data
