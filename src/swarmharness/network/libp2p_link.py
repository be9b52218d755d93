"""One raw connection below libp2p, TCP or WebSocket, that dies when the network does; it knows no peers, no frames."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import socket
import sys
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError

_READ_BYTES = 128 * 1024
_WRITE_TIMEOUT_S = 15.0
_SMALL_BYTES = 16 * 1024
_DEAD_LINK_MS = 10_000
_UNSENT_BYTES = 128 * 1024
"""What may wait in the kernel: on a slow link a small message would wait behind all of it."""


def watch_link(sock: Any) -> None:
    """Make the kernel notice a link that dies without a FIN, within about 10 s, and hold little back for a slow one."""
    options = [(socket.SOL_SOCKET, "SO_KEEPALIVE", 1), (socket.IPPROTO_TCP, "TCP_NODELAY", 1)]
    if sys.platform == "linux":
        options += [
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _DEAD_LINK_MS),
            (socket.IPPROTO_TCP, "TCP_NOTSENT_LOWAT", _UNSENT_BYTES),
            (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
            (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
            (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        ]
    for level, name, value in options:
        with contextlib.suppress(OSError):  # a socket that is already closed needs no options
            sock.setsockopt(level, getattr(socket, name), value)


class Link(ReadWriteCloser):  # type: ignore[misc]
    """One raw connection: reads are buffered, writes are whole or the connection is over, and it can be cut off.

    libp2p cancels writes (a query that times out, for instance). Half a Noise message would ruin the connection for
    everybody on it, so a write that has begun is shielded, for a bounded time.
    """

    def __init__(
        self,
        receive: Callable[[int], Awaitable[bytes]],
        send: Callable[[bytes], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
        stream: trio.abc.AsyncResource | None,
        remote: tuple[str, int] | None,
        *,
        tcp: bool,
    ) -> None:
        self._receive = receive
        self._send = send
        self._close = close
        self._stream = stream
        self._remote = remote
        self._data = b""
        self._start = 0
        self._writing = False
        self._socket = stream.socket if isinstance(stream, trio.SocketStream) and tcp else None
        self.local_host = _local_host(stream)
        """This machine's own address on the connection; empty if nobody can tell."""
        self.remote_host = "" if not isinstance(stream, trio.SocketStream) else remote_host(stream)
        """The address of the other end, as empty then."""
        self._on_close: list[Callable[[], None]] = []
        self.when_secured: Callable[[], None] = lambda: None
        """Called once it is known who is at the other end."""

    @classmethod
    def over_tcp(cls, stream: trio.SocketStream) -> Link:
        """Wrap a TCP connection."""
        watch_link(stream.socket)
        try:
            remote = stream.socket.getpeername()[:2]
        except OSError:
            remote = None
        return cls(stream.receive_some, stream.send_all, stream.aclose, stream, remote, tcp=True)

    @classmethod
    def over_websocket(cls, connection: Any) -> Link:
        """Wrap libp2p's WebSocket connection."""
        stream = websocket_stream(connection)
        if isinstance(stream, trio.SocketStream):
            watch_link(stream.socket)
        return cls(connection.read, connection.write, connection.close, stream, None, tcp=False)

    async def read(self, n: int | None = None) -> bytes:
        """Return 1 to `n` bytes, or none at the end."""
        data, start = self._data, self._start
        if start == len(data):
            try:
                data = self._data = bytes(await self._receive(_READ_BYTES))
            except trio.ClosedResourceError:
                return b""
            except trio.BrokenResourceError as error:
                raise ConnectionClosedError(f"the connection broke: {error}") from error
            start = 0
        end = len(data) if n is None else min(len(data), start + n)
        self._start = end
        return data[start:end] if end - start != len(data) else data

    async def take(self, n: int) -> bytes:
        """Return exactly `n` bytes; raises ConnectionClosedError if the connection ends before."""
        end = self._start + n
        if end <= len(self._data):
            data = self._data[self._start : end]
            self._start = end
            return data
        parts: list[bytes] = []
        while n:
            part = await self.read(n)
            if not part:
                raise ConnectionClosedError("the connection ended")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Write all of `data`, whatever is cancelled meanwhile."""
        if self._socket is not None and len(data) < _SMALL_BYTES and not self._writing:
            data = self._write_now(self._socket, data)
            if not data:
                return
        self._writing = True
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _WRITE_TIMEOUT_S) as scope:
                await self._send(data)
        except trio.ClosedResourceError:
            return
        except trio.BrokenResourceError as error:
            raise ConnectionClosedError(f"the connection broke: {error}") from error
        finally:
            self._writing = False
        if scope.cancelled_caught:
            await self.cut()
            raise ConnectionClosedError("the peer did not read for too long")

    def _write_now(self, sock: Any, data: bytes) -> bytes:
        """Write what the kernel takes at once and return the rest: no pass through the scheduler for a small frame."""
        descriptor = sock.fileno()
        if descriptor < 0:
            return b""  # closed here: libp2p expects no error then
        try:
            return data[os.write(descriptor, data) :]
        except BlockingIOError:
            return data
        except OSError as error:
            raise ConnectionClosedError(f"the connection broke: {error}") from error

    def hung_up(self) -> bool:
        """Tell whether either side has closed, also while what the other sent before is not read yet."""
        if not isinstance(self._stream, trio.SocketStream):
            return False
        descriptor = self._stream.socket.fileno()
        if descriptor < 0:
            return True
        if not hasattr(select, "POLLRDHUP"):
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLRDHUP)
        return bool(poll.poll(0))

    @property
    def key(self) -> Hashable:
        """What tells it from others: the transport below it."""
        return self._stream if self._stream is not None else self

    def when_closed(self, tell: Callable[[], None]) -> None:
        """Call `tell` once, when this side closes the connection."""
        self._on_close.append(tell)

    async def close(self) -> None:
        """Close the connection; a WebSocket says goodbye first, for a moment."""
        try:
            with trio.move_on_after(0.2):
                await self._close()
        finally:  # also when the goodbye was cancelled or failed: no socket may be left open
            await self.cut()

    async def cut(self) -> None:
        """Close at once, without saying anything: whoever waits for this connection wakes with an error."""
        tells, self._on_close = self._on_close, []
        for tell in tells:
            tell()
        if self._stream is not None:
            await trio.aclose_forcefully(self._stream)

    def get_remote_address(self) -> tuple[str, int] | None:
        """Return (host, port) of the other side, if known."""
        return self._remote


def websocket_stream(connection: Any) -> trio.abc.AsyncResource | None:
    """Return the transport stream inside libp2p's WebSocket connection, or None if its insides changed."""
    stream = getattr(getattr(connection, "_ws_connection", None), "_stream", None)
    return stream if isinstance(stream, trio.abc.AsyncResource) else None


def remote_host(stream: trio.SocketStream) -> str:
    """Return the address of the other end, or an empty text when it is gone already."""
    try:
        return str(stream.socket.getpeername()[0])
    except OSError:
        return ""


def _local_host(stream: trio.abc.AsyncResource | None) -> str:
    """Return the address of this end, in its shortest form."""
    if not isinstance(stream, trio.SocketStream):
        return ""
    try:
        host = ipaddress.ip_address(str(stream.socket.getsockname()[0]).split("%", 1)[0])
    except (OSError, ValueError, IndexError):
        return ""
    return str(getattr(host, "ipv4_mapped", None) or host)
