"""What a channel needs of the stream below it; this module holds no implementation."""

from __future__ import annotations

from typing import Protocol

import trio

STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)
"""What a broken stream raises."""


class ByteStream(Protocol):
    """An ordered two-way stream of bytes: a libp2p stream, a Unix socket, or a memory stream.

    trio's own streams satisfy it. A broken stream raises one of `STREAM_ERRORS` from any method.
    """

    async def send_all(self, data: bytes) -> None:
        """Write all of `data`; waits while the other side does not read."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        """Return at least one byte, or none at the end of the stream."""

    async def aclose(self) -> None:
        """Close both directions."""
