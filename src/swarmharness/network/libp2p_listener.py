"""Accepts TCP connections for libp2p, for WebSocket too; one that fails costs nobody else anything (X-1).

libp2p's own listeners are tasks of the event loop itself: an exception that escapes one ends the process.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
from libp2p.abc import IListener
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr
from multiaddr import Multiaddr

from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_link import remote_host

_PAUSE_S = 0.1
"""After an accept that failed: most often there are no descriptors, and others have to close theirs first."""


class Listener(IListener):  # type: ignore[misc]
    """Hands every connection to `serve`, which owns it until it returns."""

    background_nursery: trio.Nursery
    """Set by the swarm before `listen`."""

    def __init__(self, serve: Callable[[trio.SocketStream], Awaitable[None]], fence: Fence, suffix: str = "") -> None:
        self._serve = serve
        self._fence = fence
        self._suffix = suffix
        self._listeners: list[trio.SocketListener] = []
        self._scope = trio.CancelScope()

    async def listen(self, maddr: Multiaddr) -> None:
        """See `IListener`; raises OpenConnectionError."""
        try:
            port = int(maddr.value_for_protocol("tcp"))
            self._listeners = await trio.open_tcp_listeners(port, host=extract_ip_from_multiaddr(maddr))
        except (LookupError, ValueError, OSError) as error:
            raise OpenConnectionError(f"cannot listen on {maddr}: {error}") from error
        self.background_nursery.start_soon(self._run)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        """See `IListener`."""
        return tuple(Multiaddr(_address(listener) + self._suffix) for listener in self._listeners)

    async def close(self) -> None:
        """See `IListener`: also ends what it accepted."""
        self._scope.cancel()
        for listener in self._listeners:
            await trio.aclose_forcefully(listener)

    async def _run(self) -> None:
        with self._scope:
            try:
                async with trio.open_nursery() as nursery:
                    for listener in self._listeners:
                        nursery.start_soon(self._accept, listener, nursery)
            finally:
                for listener in self._listeners:
                    listener.socket.close()

    async def _accept(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError:
                await trio.sleep(_PAUSE_S)
                continue
            nursery.start_soon(self._own, stream)

    async def _own(self, stream: trio.SocketStream) -> None:
        try:
            with self._fence.around("listener", host=remote_host(stream)):
                await self._serve(stream)
        finally:
            stream.socket.close()


def _address(listener: trio.SocketListener) -> str:
    host, port = listener.socket.getsockname()[:2]
    return f"/ip{6 if ':' in host else 4}/{host.split('%', 1)[0]}/tcp/{port}"
