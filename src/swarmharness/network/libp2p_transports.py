"""libp2p's TCP and WebSocket over `Link`s, with listeners that end with nobody's connection; they know no peers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from libp2p.abc import IListener, IRawConnection
from libp2p.io.abc import ReadWriteCloser
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.tcp.tcp import TCP
from libp2p.transport.upgrader import TransportUpgrader
from libp2p.transport.websocket.connection import P2PWebSocketConnection
from libp2p.transport.websocket.transport import WebsocketConfig, WebsocketTransport
from wsproto import ConnectionType

from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_link import Link
from swarmharness.network.libp2p_links import Links
from swarmharness.network.libp2p_listener import Listener
from swarmharness.network.libp2p_websocket import BROKEN, LimitedWebSocket
from swarmharness.network.limits import Drop

_WEBSOCKET_TIMEOUT_S = 8.0
"""For the HTTP request that begins a WebSocket."""

_Handler = Callable[[ReadWriteCloser], Awaitable[None]]


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
        return RawConnection(self._add(connection.stream), True)

    def create_listener(self, handler: Any) -> IListener:
        """See `ITransport`."""

        async def serve(stream: trio.SocketStream) -> None:
            async with self._links.accepted(stream) as taken, trio.open_nursery() as nursery:
                if not taken:
                    return
                socket = LimitedWebSocket(stream, ConnectionType.SERVER)
                socket.too_many = partial(self._links.drop, stream, Drop.EMPTY)
                nursery.start_soon(socket.run)
                if await _is_asked_for(socket):
                    await _until_closed(handler, self._add(P2PWebSocketConnection(socket)))
                nursery.cancel_scope.cancel()

        return Listener(serve, self._fence, "/ws")

    def _add(self, connection: P2PWebSocketConnection) -> Link:
        link = self._links.add(Link.over_websocket(connection))
        socket = connection._ws_connection
        if isinstance(socket, LimitedWebSocket):
            socket.too_many = partial(self._links.drop, link.key, Drop.EMPTY)
            link.when_secured = socket.trust
        return link

    async def _track_connection(self, conn: Any) -> None:
        """Keep no list: libp2p never removes from it, and refuses to dial when it has 1,000 entries."""


async def _is_asked_for(socket: LimitedWebSocket) -> bool:
    """Become a WebSocket; tells whether the other side has asked for that in time."""
    try:
        with trio.fail_after(_WEBSOCKET_TIMEOUT_S):
            await socket.accept()
    except (*BROKEN, trio.TooSlowError):
        return False
    return True


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
