"""A mobile link between two programs: delay and a narrow rate each way, over real sockets; it drops nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

_PIECE_BYTES = 1_400
_QUEUE_PIECES = 1_024
"""What waits in front of the link: over a megabyte, as in many a modem, so that whatever is small waits long, too."""


@asynccontextmanager
async def slow_link(to: tuple[str, int], *, delay_s: float, bytes_per_s: int) -> AsyncIterator[tuple[str, int]]:
    """Yield an address by which `to` is reached, `delay_s` away in each direction, as fast as `bytes_per_s`."""

    async def serve(near: trio.SocketStream) -> None:
        far = await trio.open_tcp_stream(*to)
        async with near, far, trio.open_nursery() as nursery:
            nursery.start_soon(_carry, near, far, delay_s, bytes_per_s)
            nursery.start_soon(_carry, far, near, delay_s, bytes_per_s)

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield listener.socket.getsockname()[:2]
        nursery.cancel_scope.cancel()


async def _carry(source: trio.SocketStream, target: trio.SocketStream, delay_s: float, bytes_per_s: int) -> None:
    """Carry one direction until either side closes."""
    queue, pieces = trio.open_memory_channel[tuple[float, bytes]](_QUEUE_PIECES)

    async def read() -> None:
        free_s = trio.current_time()
        async with queue:
            while piece := await source.receive_some(_PIECE_BYTES):
                free_s = max(free_s, trio.current_time()) + len(piece) / bytes_per_s
                await queue.send((free_s + delay_s, piece))
                await trio.sleep_until(free_s)

    async def write() -> None:
        async for due_s, piece in pieces:
            await trio.sleep_until(due_s)
            await target.send_all(piece)
        await target.send_eof()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            nursery.start_soon(write)
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
