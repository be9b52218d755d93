"""Shorter paths through libp2p's Noise session and Yamux for the same bytes on the wire; it changes no protocol.

libp2p 0.8.1 passes the scheduler some fifteen times for one frame (locks that nobody holds, checkpoints, a timer for
each read), which is most of a call's time. Sessions and muxers are extension points of libp2p; the insides of a Yamux
stream are not, so `LeanStream` falls back to the public path where they differ (`test_libp2p_canary.py`).
"""

from __future__ import annotations

from struct import Struct
from types import TracebackType
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.io.exceptions import IOException
from libp2p.io.utils import read_exactly
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.security.secure_session import SecureSession
from libp2p.stream_muxer.yamux.yamux import Yamux, YamuxStream
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

from swarmharness.network.libp2p_link import Link

NOISE_BYTES_MAX = 65_519
"""Plain bytes of one Noise message: 65,535 less the tag."""
_FRAME_BYTES_MAX = NOISE_BYTES_MAX - 12
"""Payload of one Yamux frame that fits one Noise message."""
_YAMUX = Struct("!BBHII")
_CREDIT_BYTES = 64 * 1024
"""Read bytes between two looks at the receive window; a quarter of the smallest window, so it never runs dry."""


class LeanLock:
    """A lock that does not pass the scheduler while nobody else holds it."""

    def __init__(self) -> None:
        self._lock = trio.Lock()

    async def __aenter__(self) -> None:
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()


class LeanSession(SecureSession):  # type: ignore[misc]
    """A Noise session that reads messages out of the link's buffer and writes each in one piece."""

    def __init__(self, session: SecureSession, raw: Any, link: Link | None) -> None:
        super().__init__(
            local_peer=session.get_local_peer(),
            local_private_key=session.get_local_private_key(),
            remote_peer=session.get_remote_peer(),
            remote_permanent_pubkey=session.get_remote_public_key(),
            is_initiator=session.is_initiator,
            conn=session.conn,
        )
        self.link: Link | None = link
        """The connection below, for whoever counts its use."""
        self._raw = raw
        self._take = link.take if link is not None else self._take_slowly
        self._send = link.write if link is not None else raw.write
        self._encrypt = session.conn.encrypt
        self._decrypt = session.conn.decrypt
        self._plain = b""
        self._start = 0

    async def read(self, n: int | None = None) -> bytes:
        """Return exactly `n` bytes, or one message's worth; raises ConnectionClosedError at the end."""
        ready = self.take_ready(n) if n is not None else b""
        if ready is not None and n is not None:
            return ready
        rest = self._plain[self._start :]
        self._plain, self._start = b"", 0
        if n is None:
            return rest or await self._message()
        parts, have = [rest], len(rest)
        while have < n:
            message = await self._message()
            parts.append(message)
            have += len(message)
        data = b"".join(parts)
        self._plain, self._start = data, n
        return data[:n]

    def take_ready(self, n: int) -> bytes | None:
        """Return `n` bytes if they are here already."""
        end = self._start + n
        if end > len(self._plain):
            return None
        data = self._plain[self._start : end]
        self._start = end
        return data

    async def write(self, data: bytes) -> None:
        """Encrypt and send, in one write however many Noise messages it takes."""
        if len(data) <= NOISE_BYTES_MAX:
            sealed = self._encrypt(data)
            await self._send(len(sealed).to_bytes(2, "big") + sealed)
            return
        parts = []
        for start in range(0, len(data), NOISE_BYTES_MAX):
            sealed = self._encrypt(bytes(data[start : start + NOISE_BYTES_MAX]))
            parts += [len(sealed).to_bytes(2, "big"), sealed]
        await self._send(b"".join(parts))

    async def _message(self) -> bytes:
        size = int.from_bytes(await self._take(2), "big")
        plain: bytes = self._decrypt(await self._take(size))
        return plain

    async def _take_slowly(self, n: int) -> bytes:
        data: bytes = await read_exactly(self._raw, n)
        return data


class LeanYamux(Yamux):  # type: ignore[misc]
    """Yamux with locks and reads that do not wait for nothing."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.streams_lock = LeanLock()
        self._write_lock = LeanLock()

    async def _write_frame(self, data: bytes) -> None:
        async with self._write_lock:
            await self.secured_conn.write(data)

    async def _read_data_body(self, length: int) -> bytes:
        session = self.secured_conn
        ready = session.take_ready(length) if isinstance(session, LeanSession) else None
        body: bytes = ready if ready is not None else await super()._read_data_body(length)
        return body


class LeanUpgrader(TransportUpgrader):  # type: ignore[misc]
    """Makes the muxer that was agreed on; libp2p's own makes a plain `Yamux` whatever class it was given."""

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """See `TransportUpgrader`."""
        try:
            muxer = await self.muxer_multistream.select_transport(conn)
        except MultiselectError as error:
            raise MuxerUpgradeFailure("no muxer was agreed on") from error
        return muxer(conn, peer_id)


class LeanStream:
    """A libp2p stream as a `ByteStream` and `BulkStream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        inner = getattr(stream, "muxed_stream", None)
        self._inner: Any = inner if isinstance(inner, YamuxStream) and _is_known(inner) else None
        self._unseen_bytes = 0

    @property
    def is_lean(self) -> bool:
        """Whether the short path is in use."""
        return self._inner is not None

    async def send_all(self, data: bytes) -> None:
        """See `ByteStream`."""
        inner = self._inner
        try:
            if inner is None or len(data) > _FRAME_BYTES_MAX or len(data) > inner.send_window or inner.send_closed:
                await self._stream.write(data)
                return
            inner.send_window -= len(data)
            await inner.conn._write_frame(_YAMUX.pack(0, 0, 0, inner.stream_id, len(data)) + data)
        except (IOException, OSError) as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive_some(self, max_bytes: int) -> bytes:
        """See `ByteStream`."""
        inner = self._inner
        try:
            if inner is not None:
                conn, number = inner.conn, inner.stream_id
                buffer = conn.stream_buffers.get(number)
                if not buffer and not inner.recv_closed and number in conn.stream_events:
                    event = conn.stream_events[number]
                    await event.wait()
                    if conn.stream_events.get(number) is event:
                        conn.stream_events[number] = trio.Event()
                    buffer = conn.stream_buffers.get(number)
                if buffer and not inner.closed and len(buffer) <= max_bytes:
                    data = bytes(buffer)
                    buffer.clear()
                    self._unseen_bytes += len(data)
                    if self._unseen_bytes >= _CREDIT_BYTES:
                        seen, self._unseen_bytes = self._unseen_bytes, 0
                        await inner._auto_tune_and_send_window_update(bytes_read=seen)
                    return data
            rest: bytes = await self._stream.read(max_bytes)
        except EOFError:
            return b""
        except (IOException, OSError) as error:
            raise trio.BrokenResourceError(str(error)) from error
        return rest

    async def aclose(self) -> None:
        """See `ByteStream`."""
        try:
            await self._stream.close()
        except (IOException, OSError) as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def reset(self) -> None:
        """See `BulkStream`."""
        await self._stream.reset()


def _is_known(stream: YamuxStream) -> bool:
    conn = stream.conn
    return (
        isinstance(conn, LeanYamux)
        and isinstance(conn.stream_buffers.get(stream.stream_id), bytearray)
        and isinstance(conn.stream_events.get(stream.stream_id), trio.Event)
        and isinstance(stream.send_window, int)
        and callable(getattr(stream, "_auto_tune_and_send_window_update", None))
    )
