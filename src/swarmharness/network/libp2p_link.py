"""The sockets below libp2p: TCP and WebSocket links that die when the network does; it knows no peers, no frames."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.transport.websocket.connection import P2PWebSocketConnection
from libp2p.transport.websocket.transport import WebsocketConfig, WebsocketTransport
from trio_websocket import wrap_server_stream

from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_listener import Listener
from swarmharness.network.limits import Drop, Limits, Places

_READ_BYTES = 128 * 1024
_WRITE_TIMEOUT_S = 15.0
_SMALL_BYTES = 16 * 1024
_DEAD_LINK_MS = 10_000
_WATCH_S = 1.0
_WEBSOCKET_TIMEOUT_S = 8.0
"""For the HTTP request that begins a WebSocket."""

_Handler = Callable[[ReadWriteCloser], Awaitable[None]]


def watch_link(sock: Any) -> None:
    """Make the kernel notice a link that dies without a FIN, within about 10 s; without this, nobody does."""
    options = [(socket.SOL_SOCKET, "SO_KEEPALIVE", 1), (socket.IPPROTO_TCP, "TCP_NODELAY", 1)]
    if sys.platform == "linux":
        options += [
            (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _DEAD_LINK_MS),
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
        self._on_close: list[Callable[[], None]] = []

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


class Links:
    """Every open connection of a node, also those that have not shaken hands yet, and the places that they take."""

    def __init__(self, limits: Limits, refuse: Callable[[str], None]) -> None:
        self._open: dict[Hashable, Link] = {}
        self._streams: dict[Hashable, trio.SocketStream] = {}
        self._places = Places(limits)
        self._refuse = refuse

    def __len__(self) -> int:
        return len(self._open)

    def counts(self) -> dict[str, int]:
        """Return how many connections there are, by stage."""
        return self._places.counts()

    @asynccontextmanager
    async def accepted(self, stream: trio.SocketStream) -> AsyncIterator[bool]:
        """Hold a place for what was accepted; yields False if there is none, and then it has to be closed."""
        drop, victim = self._places.arrive(stream, remote_host(stream), trio.current_time())
        if drop is None:
            self._streams[stream] = stream
            if victim is not None:
                await self._drop(victim, Drop.HALF_OPEN)
        else:
            self._refuse(drop)
        try:
            yield drop is None
        finally:
            self._streams.pop(stream, None)
            self._places.leave(stream)

    def add(self, link: Link) -> Link:
        """Keep a link until it is closed; one that was not accepted was dialled."""
        self._open[link.key] = link
        if link.key not in self._streams:
            self._places.dialled(link.key, "", trio.current_time())
        link.when_closed(lambda: self._forget(link.key))
        return link

    async def secured(self, link: Link, peer_id: str, *, known: bool) -> bool:
        """Note who is at the other end; returns whether the connection may stay."""
        drop, victim = self._places.secured(link.key, peer_id, trio.current_time(), known=known)
        if drop is not None:
            self._refuse(drop)
        if victim is not None:
            await self._drop(victim, Drop.FULL)
        return drop is None

    def used(self, link: Link) -> None:
        """Note that something of use goes by a connection."""
        self._places.used(link.key, trio.current_time())

    def serves(self, peer_id: str, *, by: int) -> None:
        """Note that a peer has one channel more (1) or less (-1)."""
        self._places.serves(peer_id, by=by)

    async def watch(self) -> None:
        """Give up connections that have had their time, until cancelled."""
        while True:
            await trio.sleep(_WATCH_S)
            for key, drop in self._places.overdue(trio.current_time()):
                await self._drop(key, drop)

    async def cut_all(self) -> None:
        """Close every connection at once."""
        for key in [*self._open, *self._streams]:
            await self._cut(key)

    async def cut_strangers(self, hosts: Collection[str]) -> None:
        """Close the connections by an address that is not among `hosts`: nothing arrives there any more."""
        for link in list(self._open.values()):
            if link.local_host and link.local_host not in hosts:
                await link.cut()

    async def _drop(self, key: Hashable, drop: Drop) -> None:
        if drop is not Drop.IDLE:
            self._refuse(drop)
        self._places.leave(key)
        await self._cut(key)

    async def _cut(self, key: Hashable) -> None:
        link = self._open.get(key)
        if link is not None:
            await link.cut()
        elif key in self._streams:
            await trio.aclose_forcefully(self._streams[key])

    def _forget(self, key: Hashable) -> None:
        self._open.pop(key, None)
        self._places.leave(key)


class WatchedTcp(TCP):  # type: ignore[misc]
    """libp2p's TCP over `Link`s."""

    def __init__(self, links: Links, fence: Fence) -> None:
        super().__init__()
        self._links = links
        self._fence = fence

    async def dial(self, maddr: Any) -> IRawConnection:
        """See `ITransport`."""
        connection: Any = await super().dial(maddr)
        return RawConnection(self._links.add(Link.over_tcp(connection.stream.stream)), True)

    def create_listener(self, handler_function: Any) -> Listener:
        """See `ITransport`."""

        async def serve(stream: trio.SocketStream) -> None:
            async with self._links.accepted(stream) as taken:
                if taken:
                    await _until_closed(handler_function, self._links.add(Link.over_tcp(stream)))

        return Listener(serve, self._fence)


class WatchedWebsocket(WebsocketTransport):  # type: ignore[misc]
    """libp2p's WebSocket over `Link`s, never through a proxy that the environment names."""

    def __init__(self, upgrader: TransportUpgrader, links: Links, fence: Fence) -> None:
        super().__init__(upgrader, config=WebsocketConfig(proxy_url=""))
        self._links = links
        self._fence = fence

    def set_background_nursery(self, nursery: trio.Nursery) -> None:
        """Take the nursery in which the readers of dialled connections run."""
        super().set_background_nursery(self._fence.nursery(nursery))

    async def dial(self, maddr: Any) -> RawConnection:
        """See `ITransport`."""
        connection: Any = await super().dial(maddr)
        return RawConnection(self._links.add(Link.over_websocket(connection.stream)), True)

    def create_listener(self, handler: Any) -> IListener:
        """See `ITransport`."""

        async def serve(stream: trio.SocketStream) -> None:
            async with self._links.accepted(stream) as taken, trio.open_nursery() as nursery:
                if not taken:
                    return
                with trio.fail_after(_WEBSOCKET_TIMEOUT_S):
                    request = await wrap_server_stream(nursery, stream)
                    connection = P2PWebSocketConnection(await request.accept())
                await _until_closed(handler, self._links.add(Link.over_websocket(connection)))
                nursery.cancel_scope.cancel()

        return Listener(serve, self._fence, "/ws")

    async def _track_connection(self, conn: Any) -> None:
        """Keep no list: libp2p never removes from it, and refuses to dial when it has 1,000 entries."""


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


async def _until_closed(handler: _Handler, link: Link) -> None:
    """Run libp2p's handler of an inbound connection until that is closed.

    By itself it waits for the end of the host, and holds one of a limited number of inbound slots until then.
    """
    try:
        with trio.CancelScope() as scope:
            link.when_closed(scope.cancel)
            await handler(link)
    finally:
        await link.cut()
