"""The reading side of a channel: frames, within the room of its peer; it knows nothing of what the frames mean."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from swarmharness.errors import RefusedError
from swarmharness.network.byte_stream import ByteStream
from swarmharness.network.room import PeerRoom
from swarmharness.network.work_turns import BYTES_PER_US, FRAME_US, PING_US, REQUEST_US
from swarmharness.protocol.frame import Frame, FrameDecoder, FrameKind

READ_BYTES = 64 * 1024
_PIECE_BYTES = 16 * 1024
"""Of what was read, that is cut into frames at a time: small frames take ten times the memory of their bytes."""
LOOK_US = 2_500
"""So much work passes between two looks at whether it is somebody else's turn."""
_UNCOUNTED_BYTES = 16 * 1024
"""So much of a frame that is not whole is held against nobody."""
_SLOWED_PERIOD_S = 1.0
_REQUESTS = frozenset((int(FrameKind.REQUEST), int(FrameKind.BULK_REQUEST)))
_PING = int(FrameKind.PING)


class Reading:
    """Cuts a stream into frames, and makes whoever sends much wait for the others."""

    def __init__(self, stream: ByteStream, frame_bytes_max: int, room: PeerRoom, refuse: Callable[[str], None]) -> None:
        self.decoder = FrameDecoder(frame_bytes_max)
        self._stream = stream
        self._frame_bytes_max = frame_bytes_max
        self._room = room
        self._refuse = refuse
        self._data: bytes | bytearray = b""
        self._held_bytes = 0
        self._slowed_s = -math.inf

    async def frames(self) -> list[Frame] | None:
        """Return the next frames, or None at the end.

        Raises ProtocolError, what a stream raises, and RefusedError if there is no memory for a frame.
        """
        if not self._data:
            self._data = await self._stream.receive_some(READ_BYTES)
            if not self._data:
                return None
        piece, self._data = self._data[:_PIECE_BYTES], self._data[_PIECE_BYTES:]
        decoder = self.decoder
        frames = decoder.feed(piece)
        if self._data:
            return frames
        if self._held_bytes or decoder.buffered_bytes > _UNCOUNTED_BYTES:
            self._hold(self._frame_bytes_max if decoder.buffered_bytes > _UNCOUNTED_BYTES else 0)
        return frames

    async def rest(self, work_us: int) -> None:
        """Note work for the peer, and let others come first if it had its share of the processor's time."""
        if await self._room.rest(work_us) and trio.current_time() >= self._slowed_s + _SLOWED_PERIOD_S:
            self._slowed_s = trio.current_time()
            self._refuse("slowed")

    def end(self) -> None:
        """Free what is held for a frame that will not come."""
        self._room.bytes.give_back(self._held_bytes)
        self._held_bytes = 0

    def _hold(self, wanted: int) -> None:
        """Hold the memory of a frame that is not whole against the peer."""
        if wanted == self._held_bytes:
            return
        self.end()
        if not self._room.bytes.take(wanted):
            self._refuse("frame memory")
            raise RefusedError("this node has no memory for another large frame")
        self._held_bytes = wanted


def cost_us(kind: int, size: int) -> int:
    """Return about how long a frame keeps the processor busy."""
    if kind in _REQUESTS:
        return REQUEST_US + size // BYTES_PER_US
    return PING_US if kind == _PING else FRAME_US
