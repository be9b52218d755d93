"""Runs handlers for the calls that arrive on one channel, within its limits; it never reads or writes the stream."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, Protocol

import trio

from swarmharness.errors import DeadlineError, ErrorKind, ProtocolError, RefusedError, SwarmError, leaf, public_text
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.handlers import Handlers
from swarmharness.network.ports import Request
from swarmharness.network.room import PeerRoom, Room
from swarmharness.network.settings import ChannelSettings
from swarmharness.protocol.frame import FrameKind, encode_error, encode_frame, encode_window

_LOG = logging.getLogger(__name__)
_IDLE_WORKERS_MAX = 64
_IDLE_WORKERS_OF_NODE_MAX = 1024
"""A sleeping task takes about 3 KiB, and there may be hundreds of channels."""
_UNCOUNTED_BYTES = 4096
"""A request of so few bytes is held against nobody: there are not many calls in progress."""
_OVERLOAD = "the peer has too many calls in progress: try again later"
MALFORMED = "malformed"
"""A handler was given what is no message of its method."""


class Answering(Protocol):
    """The channel, as seen from here."""

    def send(self, frame: bytes) -> None:
        """Queue a frame."""

    async def drained(self) -> None:
        """Wait while too much is queued."""

    async def send_bulk(self, request_id: int, payload: bytes) -> None:
        """Send an answer that is too large for a frame."""

    def expire_at(self, deadline: float) -> None:
        """Have `Serving.expire` called then."""


class Announced:
    """A payload that comes on a stream of its own, and of which the length is known."""

    __slots__ = ("_size", "receiving")

    def __init__(self, size: int, receiving: Callable[[], AbstractAsyncContextManager[bytes]]) -> None:
        self._size = size
        self.receiving = receiving

    def __len__(self) -> int:
        return self._size


class _Job:
    """One call in progress."""

    __slots__ = ("deadline", "expired", "method", "payload", "request_id", "scope", "size", "timeout_s")

    def __init__(self, request_id: int, method: str, payload: bytes | Announced, timeout_s: float, size: int) -> None:
        self.request_id = request_id
        self.method = method
        self.payload = payload
        self.timeout_s = timeout_s
        self.deadline = trio.current_time() + timeout_s
        self.size = size
        self.scope = trio.CancelScope()
        self.expired = False


class _Worker:
    """A task that waits for its next call."""

    __slots__ = ("_idle", "_room", "job", "task")

    def __init__(self, task: trio.lowlevel.Task, idle: list[_Worker], room: Room, job: _Job) -> None:
        self.task = task
        self.job = job
        self._idle = idle
        self._room = room

    def abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._idle.remove(self)
        self._room.idle_workers -= 1
        return trio.lowlevel.Abort.SUCCEEDED


class Serving:
    """The peer's calls in progress, and the credit that it holds.

    Worker tasks are kept and reused: waking one costs a fifth of starting one, and this is the hot path.
    """

    def __init__(
        self,
        peer_id: PeerId,
        handlers: Handlers,
        settings: ChannelSettings,
        outbox: Answering,
        refuse: Callable[[str], None],
        room: PeerRoom,
    ) -> None:
        self._peer_id = peer_id
        self._bytes, self._calls, self._room = room.bytes, room.calls, room.room
        self._peers_room = room
        self._handlers = handlers
        self._settings = settings
        self._outbox = outbox
        self._refuse = refuse
        self._jobs: dict[int, _Job] = {}
        self._idle: list[_Worker] = []
        self._unfinished_bytes = 0
        self._owed_bytes = 0
        self._owed_bytes_most = settings.window_bytes // 4
        self.left: Callable[[], None] = lambda: None
        """Called when a call is over."""

    @property
    def in_progress(self) -> int:
        """Calls that have neither been answered nor given up."""
        return len(self._jobs)

    def begin(
        self,
        nursery: trio.Nursery,
        request_id: int,
        method: str,
        payload: bytes | Announced,
        timeout_ms: int,
        size: int,
    ) -> None:
        """Start a handler for a call whose frame body has `size` bytes; returns at once.

        Raises ProtocolError if the peer sends more than its window (invariant N-2) or uses a number twice.
        """
        self._unfinished_bytes += size
        if self._unfinished_bytes > self._settings.window_bytes:
            raise ProtocolError("the peer sent more request bytes than its window allows")
        if request_id in self._jobs:
            raise ProtocolError(f"request {request_id} is already in progress")
        if not self._take_room(request_id, size):
            self._finished(size)
            return
        timeout_s = min(timeout_ms / 1000, self._settings.call_time_max_s)
        job = _Job(request_id, method, payload, timeout_s, size)
        self._jobs[request_id] = job
        self._outbox.expire_at(job.deadline)
        self._room.asked(self._peers_room, job.deadline - job.timeout_s)
        if self._idle:
            worker = self._idle.pop()
            self._room.idle_workers -= 1
            worker.job = job
            trio.lowlevel.reschedule(worker.task)
        else:
            nursery.start_soon(self._work, job)

    def _take_room(self, request_id: int, size: int) -> bool:
        """Set aside what a call takes; tells the caller if there is not so much."""
        if len(self._jobs) >= self._settings.handlers_max or not self._calls.take(1):
            self._refuse("overload")
            self._fail(request_id, RefusedError(_OVERLOAD).for_peers())
            return False
        if size > _UNCOUNTED_BYTES and not self._bytes.take(size):
            self._calls.give_back(1)
            self._refuse("call memory")
            self._fail(request_id, RefusedError(_OVERLOAD).for_peers())
            return False
        return True

    def _leave_room(self, job: _Job) -> None:
        self._calls.give_back(1)
        if job.size > _UNCOUNTED_BYTES:
            self._bytes.give_back(job.size)

    def end(self) -> None:
        """Free what calls took that were cut off by the end of the channel."""
        for job in self._jobs.values():
            self._leave_room(job)
        self._jobs.clear()

    def cancel(self, request_id: int) -> None:
        """The caller gave up."""
        job = self._jobs.get(request_id)
        if job is not None:
            job.scope.cancel()

    def expire(self, now: float) -> float:
        """Cancel what is past its deadline; returns the earliest deadline left."""
        earliest = math.inf
        for job in self._jobs.values():
            if job.expired:
                continue
            if job.deadline <= now:
                job.expired = True
                job.scope.cancel()
            else:
                earliest = min(earliest, job.deadline)
        return earliest

    async def _work(self, job: _Job) -> None:
        worker, room = _Worker(trio.lowlevel.current_task(), self._idle, self._room, job), self._room
        while True:
            job = worker.job
            with job.scope:
                await self._answer(job)
            if job.expired and job.scope.cancelled_caught:
                self._fail(job.request_id, DeadlineError(f"{job.method}: the deadline passed before the answer"))
            del self._jobs[job.request_id]
            self._leave_room(job)
            self._finished(job.size)
            self.left()
            if len(self._idle) >= _IDLE_WORKERS_MAX or room.idle_workers >= _IDLE_WORKERS_OF_NODE_MAX:
                return
            self._idle.append(worker)
            room.idle_workers += 1
            await trio.lowlevel.wait_task_rescheduled(worker.abort)

    async def _answer(self, job: _Job) -> None:
        try:
            handler = self._handlers.take(job.method, len(job.payload), self._refuse)
            if isinstance(job.payload, bytes):
                answer = await handler(Request(self._peer_id, job.method, job.payload, job.timeout_s))
            else:
                async with job.payload.receiving() as payload:
                    answer = await handler(Request(self._peer_id, job.method, payload, job.timeout_s))
            if len(answer) > self._settings.inline_bytes_max:
                await self._outbox.send_bulk(job.request_id, answer)
            else:
                self._outbox.send(encode_frame(FrameKind.RESPONSE, job.request_id, answer))
        except Exception as error:
            self._fail(job.request_id, error, method=job.method)
        await self._outbox.drained()

    def _fail(self, request_id: int, error: BaseException, *, method: str = "") -> None:
        cause = leaf(error)
        if isinstance(cause, ProtocolError):
            self._refuse(MALFORMED)
        if isinstance(cause, SwarmError):
            kind, message = int(cause.kind), str(cause) if self._settings.own_user else told_to_peer(cause, method)
        else:
            _LOG.error("the handler of %r failed", method, exc_info=error, extra=by_peers())
            kind, message = int(ErrorKind.INTERNAL), f"the peer failed internally in {method!r}: its log says why"
        self._outbox.send(encode_error(request_id, kind, message))

    def _finished(self, size: int) -> None:
        """Give credit back, but in few frames: only when a quarter of the window is owed."""
        self._owed_bytes += size
        if self._owed_bytes >= self._owed_bytes_most:
            self._unfinished_bytes -= self._owed_bytes
            self._outbox.send(encode_window(self._owed_bytes))
            self._owed_bytes = 0


def told_to_peer(error: SwarmError, method: str) -> str:
    """Return what the caller of a method is told; what it is not told is logged, because the text says so."""
    text = public_text(error)
    if text != str(error):
        _LOG.warning("a peer's call of %r failed: %s", method, error, extra=by_peers())
    return text
