"""One Yamux stream: its two windows, what has arrived and was not read, and how it ends; it never reads the connection.

The peer may send as much as it was granted and no more; a stream grants again what was read. A window that is used up
within a tenth of a second is doubled, up to a limit, so that a long fat link is filled and a slow one costs no memory.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset

from swarmharness.network.yamux_frames import ACK, DATA, FIN, SYN, WINDOW, WINDOW_BYTES_FIRST, header

if TYPE_CHECKING:
    from swarmharness.network.libp2p_yamux import YamuxConnection

FRAME_BYTES_MAX = 65_519 - 12
"""Payload of one frame that fits one Noise message."""
_PIECE_BYTES = 128
"""What one piece costs beside its bytes."""
_READ_BYTES = 1024 * 1024
_GROW_S = 0.1
_SEND_WINDOW_MAX = 2**31
_FAILED = {MuxedStreamReset: "the stream was reset", MuxedConnUnavailable: "the connection has ended"}


class YamuxStream(IMuxedStream):  # type: ignore[misc]
    """See `IMuxedStream`. `close` ends one direction, as everywhere in libp2p."""

    def __init__(self, connection: YamuxConnection, number: int, *, opened_here: bool, now_s: float) -> None:
        self.muxed_conn = connection
        self.number = number
        self.closed_s = self.unread_s = now_s
        """When this side ended its direction; since when something is here that nobody reads."""
        self._connection = connection
        self._first_flags = SYN if opened_here else ACK
        """They ride on the first frame of this side."""
        self._pieces: deque[bytes] = deque()
        self._first_taken = 0
        """Bytes of the first piece that were read already."""
        self._held_bytes = 0
        self._read_bytes = 0
        """Since the last grant."""
        self._window_bytes = self._receive_bytes = self._send_bytes = WINDOW_BYTES_FIRST
        self._granted_s = now_s
        self._ended_here = self._ended_there = False
        self._failure: type[MuxedStreamReset | MuxedConnUnavailable] | None = None
        self._readers = trio.lowlevel.ParkingLot()
        self._writers = trio.lowlevel.ParkingLot()

    # -- told by the connection, which reads frames -----------------------------------------------------------------

    @property
    def held_bytes(self) -> int:
        """What arrived and was not read, and what it costs to keep it."""
        return self._held_bytes

    @property
    def ended_here(self) -> bool:
        """Whether this side ended its direction."""
        return self._ended_here

    @property
    def over(self) -> bool:
        """Whether nothing can come or go any more, and nothing is left to be read."""
        return self._failure is not None or (self._ended_here and self._ended_there and not self._pieces)

    @staticmethod
    def cost_bytes(piece: bytes) -> int:
        """Return what it costs to keep a piece."""
        return len(piece) + _PIECE_BYTES

    def expect(self, size: int) -> bool:
        """Note that `size` bytes are announced; returns whether they were granted."""
        self._receive_bytes -= size
        return self._receive_bytes >= 0

    def arrive(self, piece: bytes) -> None:
        """Take bytes of the peer."""
        if not self._pieces:
            self.unread_s = trio.current_time()
        self._pieces.append(piece)
        self._held_bytes += self.cost_bytes(piece)
        self._readers.unpark_all()

    def end_there(self) -> None:
        """Note that the peer sends no more."""
        self._ended_there = True
        self._readers.unpark_all()

    def grant(self, size: int) -> None:
        """Note that the peer takes `size` bytes more."""
        self._send_bytes = min(self._send_bytes + size, _SEND_WINDOW_MAX)
        self._writers.unpark_all()

    def fail(self, failure: type[MuxedStreamReset | MuxedConnUnavailable]) -> None:
        """End both directions; what had come before the connection ended can still be read, and counts no more."""
        if self._failure is None:
            self._failure = failure
            self._held_bytes = 0
            if failure is MuxedStreamReset:
                self._pieces.clear()
            self._readers.unpark_all()
            self._writers.unpark_all()

    # -- used ---------------------------------------------------------------------------------------------------------

    async def receive(self, most_bytes: int) -> bytes:
        """Return 1 to `most_bytes` bytes, or none at the end; raises MuxedStreamReset or MuxedConnUnavailable."""
        if self._read_bytes * 2 >= self._window_bytes:
            await self._grant_again()
        while not self._pieces:
            if self._failure is not None:
                raise self._failure(_FAILED[self._failure])
            if self._ended_there:
                return b""
            if self._first_flags == SYN:
                await self._say_that_it_is_open()
                continue
            await self._readers.park()
        self.unread_s = trio.current_time()
        data = self._take(most_bytes)
        self._read_bytes += len(data)
        if self.over:
            self._connection.forget(self)
        return data

    async def send(self, data: bytes) -> None:
        """Send all of `data`; raises MuxedStreamReset, MuxedStreamClosed or MuxedConnUnavailable."""
        start, end = 0, len(data)
        while start < end:
            self._check_writable()
            if not self._send_bytes:
                await self._writers.park()
                continue
            async with self._connection.writing:
                self._check_writable()
                size = min(end - start, self._send_bytes, FRAME_BYTES_MAX)
                if not size:
                    continue
                self._send_bytes -= size
                body = data if size == len(data) else data[start : start + size]
                await self._connection.write(header(DATA, self._take_flags(), self.number, size) + body)
            start += size

    async def read(self, n: int | None = None) -> bytes:
        """See `IMuxedStream`: 1 to `n` bytes; raises MuxedStreamEOF at the end."""
        if n == 0:
            return b""
        data = await self.receive(n if n is not None and n > 0 else _READ_BYTES)
        if not data:
            raise MuxedStreamEOF("the peer ended the stream")
        return data

    async def write(self, data: bytes) -> None:
        """See `IMuxedStream`."""
        await self.send(data)

    async def close(self) -> None:
        """Say that this side sends no more; what the peer sends can still be read."""
        async with self._connection.writing:
            if self._ended_here or self._failure is not None:
                return
            self._ended_here, self.closed_s = True, trio.current_time()
            await self._connection.write(header(WINDOW, self._take_flags() | FIN, self.number))
        self._writers.unpark_all()
        if self.over:
            self._connection.forget(self)

    async def reset(self) -> None:
        """Give up both directions; returns at once."""
        if not self.over:
            self._connection.reset(self, said=self._first_flags != SYN)

    def set_deadline(self, ttl: int) -> bool:
        """See `IMuxedStream`: there is none, callers have their own."""
        return False

    def get_remote_address(self) -> tuple[str, int] | None:
        """See `IMuxedStream`."""
        return self._connection.get_remote_address()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- inside -------------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise self._failure(_FAILED[self._failure])
        if self._ended_here:
            raise MuxedStreamClosed("this side ended the stream")

    def _take_flags(self) -> int:
        flags, self._first_flags = self._first_flags, 0
        return flags

    def _take(self, most_bytes: int) -> bytes:
        """Return bytes of the first piece, which is kept whole until its last one is taken."""
        piece, start = self._pieces[0], self._first_taken
        end = start + most_bytes
        if end < len(piece):
            self._first_taken = end
            return piece[start:end]
        self._pieces.popleft()
        self._first_taken = 0
        if self._failure is None:
            size = self.cost_bytes(piece)
            self._held_bytes -= size
            self._connection.release(size)
        return piece[start:] if start else piece

    async def _grant_again(self) -> None:
        """Grant what was read since the last time, and more if that did not take long."""
        async with self._connection.writing:  # whoever is cancelled while it waits has granted nothing
            if self._failure is not None or self._ended_there:
                return
            now_s, grown = trio.current_time(), self._window_bytes
            if now_s - self._granted_s < _GROW_S:
                grown = min(2 * self._window_bytes, self._connection.window_bytes_max)
            size = self._read_bytes + grown - self._window_bytes
            self._window_bytes, self._granted_s, self._read_bytes = grown, now_s, 0
            self._receive_bytes += size
            await self._connection.write(header(WINDOW, self._take_flags(), self.number, size))

    async def _say_that_it_is_open(self) -> None:
        async with self._connection.writing:
            if self._failure is None and self._first_flags:
                await self._connection.write(header(WINDOW, self._take_flags(), self.number))
