"""Both ends of a WebSocket, which keep little of what the other side sends; they read no message themselves.

trio-websocket answers pings as fast as they come, and keeps pieces of a message without end if they are empty.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio_websocket
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection
from wsproto import ConnectionType, WSConnection
from wsproto.utilities import ProtocolError

from swarmharness.network.token_buckets import TokenBuckets

HALF_OPEN_BYTES_MAX = 64 * 1024
"""Of a message before the handshake is over: it takes less than one."""
MESSAGE_BYTES_MAX = 1024 * 1024
_EMPTY_PER_S, _EMPTY_BURST = 10, 100
"""Frames without a byte for this node: others ping twice a minute."""
_READ_BYTES = 16 * 1024
_KEY = ""

BROKEN = (ConnectionClosed, HandshakeError, ProtocolError)
"""What a WebSocket raises that its other side has ended or spoiled."""


class LimitedWebSocket(WebSocketConnection):
    """Either end of a WebSocket; `run` reads frames, and is started by whoever makes it."""

    def __init__(self, stream: Any, role: ConnectionType, **more: Any) -> None:
        super().__init__(
            stream,
            WSConnection(role),
            message_queue_size=1,
            max_message_size=HALF_OPEN_BYTES_MAX,
            receive_buffer_size=_READ_BYTES,
            **more,
        )
        self.too_many: Callable[[], Awaitable[None]] = _nobody
        """Called when empty frames come faster than anybody needs, before the connection ends."""
        self._empty = TokenBuckets(per_s=_EMPTY_PER_S, burst=_EMPTY_BURST)
        self._opening = trio.CancelScope()

    async def run(self) -> None:
        """Read frames until the connection ends."""
        try:
            await self._reader_task()
        except BROKEN:
            await trio.aclose_forcefully(self._stream)
        finally:
            self._opening.cancel()

    async def accept(self) -> None:
        """Answer the HTTP request that begins a WebSocket; raises one of `BROKEN`."""
        with self._opening:
            request = await self._get_request()
            await request.accept()
            return
        raise HandshakeError("the other side has asked for nothing")

    async def opened(self) -> None:
        """Wait for the answer to such a request; raises HandshakeError."""
        with self._opening:
            await self._open_handshake.wait()
            return
        raise HandshakeError("the other side has not answered")

    def trust(self) -> None:
        """Take larger messages: it is known who is at the other end."""
        self._max_message_size = MESSAGE_BYTES_MAX

    async def _handle_ping_event(self, event: Any) -> None:
        await self._count()
        await super()._handle_ping_event(event)

    async def _handle_pong_event(self, event: Any) -> None:
        await self._count()
        await super()._handle_pong_event(event)

    async def _handle_message_event(self, event: Any) -> None:
        if not event.data:
            await self._count()
        await super()._handle_message_event(event)

    async def _count(self) -> None:
        if not self._empty.take(_KEY, 1, time.monotonic_ns() // 1_000):
            await self.too_many()
            await self._abort_web_socket()
            assert self._close_reason is not None
            raise ConnectionClosed(self._close_reason)


async def dial_websocket(nursery: trio.Nursery, stream: Any, host: str, resource: str, **_: Any) -> LimitedWebSocket:
    """Do as `trio_websocket.wrap_client_stream`, with our own limits."""
    socket = LimitedWebSocket(stream, ConnectionType.CLIENT, host=host, path=resource)
    nursery.start_soon(socket.run)
    await socket.opened()
    return socket


def install_websocket() -> None:
    """Have libp2p 0.8.1 dial so: its own keeps 1,024 messages of up to 32 MiB (`test_libp2p_canary.py`)."""
    trio_websocket.wrap_client_stream = dial_websocket


async def _nobody() -> None:
    pass
