"""The sending side of a channel: a queue and the one task that writes it; it knows nothing of what the frames mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import trio

from swarmharness.network.budgets import Share
from swarmharness.network.byte_stream import STREAM_ERRORS, ByteStream
from swarmharness.protocol.frame import encode_close

_HIGH_WATER_BYTES = 2 * 1024 * 1024
_UNCOUNTED_BYTES = 64 * 1024
"""So much may wait for a peer without being held against it: all that is queued in one turn, mostly."""
_BLOCK_BYTES = 256 * 1024


class Outbox:
    """Queues frames without waiting and writes whatever is queued at once: under load one write carries many frames.

    `broken` is called when the stream breaks, `overfull` when the peer has not read `bytes_max` bytes,
    or more than its share of the node's `memory`.
    """

    def __init__(
        self,
        stream: ByteStream,
        bytes_max: int,
        memory: Share,
        *,
        broken: Callable[[], None],
        overfull: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._bytes_max = bytes_max
        self._memory = memory
        self._allowed_bytes = min(bytes_max, _UNCOUNTED_BYTES)
        self._taken_bytes = 0
        self._broken = broken
        self._overfull = overfull
        self._queue: list[bytes] = []
        self._queued_bytes = 0
        self._drained: trio.Event | None = None
        self._writer: trio.lowlevel.Task | None = None
        self._scope = trio.CancelScope(shield=True)
        self._closed = False
        self.said_goodbye = False

    def send(self, frame: bytes) -> None:
        """Queue a frame; never waits. Nothing is sent after the end."""
        if self._closed:
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        writer = self._writer
        if writer is not None:
            self._writer = None
            trio.lowlevel.reschedule(writer)
        if self._queued_bytes > self._allowed_bytes:
            self._take_more()

    async def drained(self) -> None:
        """Wait while so much is queued that more would only cost memory."""
        while self._queued_bytes > _HIGH_WATER_BYTES and not self._closed:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def write(self) -> None:
        """Run the writer until the end; to be started once.

        Shielded, because half a frame would make the farewell unreadable; `close` bounds what is left of it.
        """
        queue, send_all = self._queue, self._stream.send_all
        try:
            with self._scope:
                while True:
                    if not queue:
                        if self._closed:
                            return
                        self._writer = trio.lowlevel.current_task()
                        await trio.lowlevel.wait_task_rescheduled(self._abort)
                        continue
                    data = b"".join(queue) if len(queue) > 1 else queue[0]
                    queue.clear()
                    await send_all(data)
                    self._queued_bytes -= len(data)
                    if self._taken_bytes and not queue:
                        self._give_back()
                    if self._drained is not None and self._queued_bytes <= _HIGH_WATER_BYTES:
                        self._wake_waiters()
        except STREAM_ERRORS:
            self._broken()

    def close(self, farewell: str | None, timeout_s: float) -> None:
        """Write what is queued and the farewell within `timeout_s`, or stop at once if there is none."""
        if farewell is None:
            self._scope.cancel()
        else:
            self._queue.append(encode_close(farewell))
            self.said_goodbye = True
            self._scope.deadline = trio.current_time() + timeout_s
        self._closed = True
        self._give_back()
        self._wake_waiters()
        writer, self._writer = self._writer, None
        if writer is not None:
            trio.lowlevel.reschedule(writer)

    def _take_more(self) -> None:
        more = -(-(self._queued_bytes - self._allowed_bytes) // _BLOCK_BYTES) * _BLOCK_BYTES
        if self._queued_bytes > self._bytes_max or not self._memory.take(more):
            self._overfull()
            return
        self._taken_bytes += more
        self._allowed_bytes += more

    def _give_back(self) -> None:
        self._memory.give_back(self._taken_bytes)
        self._allowed_bytes -= self._taken_bytes
        self._taken_bytes = 0

    def _wake_waiters(self) -> None:
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    def _abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED
