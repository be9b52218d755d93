"""One channel to one peer: calls with deadlines and cancellation on a byte stream; it never dials and never retries."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import trio

from swarmharness.errors import DeadlineError, InputError, PeerLostError, ProtocolError, SwarmError, error_from_kind
from swarmharness.identity import PeerId
from swarmharness.network.bulk import BulkExchange, Direction
from swarmharness.network.byte_stream import ByteStream
from swarmharness.network.heartbeat import Heartbeat
from swarmharness.network.ports import Handler
from swarmharness.network.serving import Serving
from swarmharness.network.settings import ChannelSettings
from swarmharness.protocol import codec
from swarmharness.protocol.frame import (
    METHOD_BYTES_MAX,
    U32_MAX,
    Frame,
    FrameDecoder,
    FrameKind,
    encode_close,
    encode_frame,
    encode_request,
    encode_u64,
    pack_u64,
    parse_close,
    parse_error,
    parse_request,
    parse_u64,
    parse_window,
)
from swarmharness.protocol.handshake import CHANNEL_VERSION, Hello, agree

_READ_BYTES = 64 * 1024
_HIGH_WATER_BYTES = 2 * 1024 * 1024
_REQUEST, _RESPONSE, _ERROR = int(FrameKind.REQUEST), int(FrameKind.RESPONSE), int(FrameKind.ERROR)
_STREAM_ERRORS = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


@dataclass(frozen=True, slots=True)
class ChannelEnd:
    """Why a channel ended."""

    reason: str
    farewell: bool
    """One side said goodbye: there is nothing to reconnect."""


class Channel:
    """Concurrent calls both ways. First `handshake`, then `run` in a nursery; `call` works between and during.

    `handlers` is looked up for every call, so it may grow until peers connect. `refuse` is told the reason of every
    message that was refused. `bulk` carries payloads above `inline_bytes_max`; without it they raise InputError.
    """

    def __init__(
        self,
        stream: ByteStream,
        peer_id: PeerId,
        handlers: Mapping[str, Handler],
        settings: ChannelSettings | None = None,
        *,
        bulk: BulkExchange | None = None,
        refuse: Callable[[str], None] = lambda reason: None,
        first_request_id: int = 1,
    ) -> None:
        self.peer_id = peer_id
        self.end: ChannelEnd | None = None
        self.bulk = bulk
        self._stream = stream
        self._settings = settings or ChannelSettings()
        self._refuse = refuse
        self._decoder = FrameDecoder(self._settings.frame_bytes_max)
        self._early: list[Frame] = []
        self._serving = Serving(peer_id, handlers, self._settings, self, refuse)
        self._heartbeat = Heartbeat(self._settings.heartbeat_s)
        self._calls: dict[int, _Call] = {}
        self._turns: deque[_Turn] = deque()
        self._in_flight = 0
        self._used_bytes = 0
        self._window_bytes = 0
        self._inline_bytes_max = self._settings.inline_bytes_max
        self._request_id = first_request_id % U32_MAX
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._drained: trio.Event | None = None
        self._writer: trio.lowlevel.Task | None = None
        self._writing = trio.CancelScope(shield=True)
        self._expiry = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._retiring = False
        self._farewell_sent = False

    @property
    def round_trip_us(self) -> int | None:
        """A smoothed round-trip time, or None before the first heartbeat was answered."""
        return self._heartbeat.round_trip_us

    # -- life ---------------------------------------------------------------------------------------------------

    async def handshake(self) -> Hello:
        """Exchange HELLOs; raises ProtocolError, PeerLostError or DeadlineError, and then the stream is closed."""
        ours = Hello((CHANNEL_VERSION,), self._settings.software, self._settings.window_bytes)
        try:
            with trio.fail_after(self._settings.hello_timeout_s):
                await self._stream.send_all(encode_frame(FrameKind.HELLO, 0, codec.encode(ours)))
                while not self._early:
                    data = await self._stream.receive_some(_READ_BYTES)
                    if not data:
                        raise PeerLostError(
                            "the peer closed the stream instead of saying hello: it may refuse this node"
                        )
                    self._early = self._decoder.feed(data)
            first = self._early.pop(0)
            if first.kind != FrameKind.HELLO:
                raise ProtocolError(f"the peer's first frame is of kind {first.kind}, not HELLO")
            theirs = codec.decode(Hello, first.body)
            agree(ours.versions, theirs.versions)
        except BaseException as error:
            if isinstance(error, ProtocolError):
                self._refuse("hello")
            self._finish(ChannelEnd(str(error) or type(error).__name__, farewell=False))
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._settings.close_timeout_s):
                if isinstance(error, ProtocolError):
                    with contextlib.suppress(*_STREAM_ERRORS):
                        await self._stream.send_all(encode_close(str(error)))
                await self._close_stream()
            if isinstance(error, trio.TooSlowError):
                raise DeadlineError(f"no hello from the peer within {self._settings.hello_timeout_s:g} s") from None
            if isinstance(error, _STREAM_ERRORS):
                raise PeerLostError("the stream broke before the peer said hello") from None
            raise
        self._window_bytes = theirs.window_bytes
        self._inline_bytes_max = min(self._settings.inline_bytes_max, theirs.window_bytes // 2)
        return theirs

    async def run(self) -> ChannelEnd:
        """Serve until the channel ends; returns why. Cancelling it ends the channel with a farewell."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self.end is not None:
                    nursery.cancel_scope.cancel()
                nursery.start_soon(self._write)
                nursery.start_soon(self._expire)
                if self._settings.heartbeat_s > 0:
                    nursery.start_soon(self._beat)
                try:
                    await self._read()
                finally:
                    self._finish(ChannelEnd("the other node is stopping", farewell=True))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._settings.close_timeout_s):
                await self._part()
        assert self.end is not None
        return self.end

    def close(self, reason: str) -> None:
        """Say goodbye and end the channel; calls under way raise PeerLostError on both sides."""
        self._finish(ChannelEnd(reason, farewell=True))

    def retire(self) -> None:
        """Say goodbye as soon as nothing is under way in either direction; takes no new calls from this side."""
        self._retiring = True
        self._close_if_idle()

    # -- calling ------------------------------------------------------------------------------------------------

    async def call(self, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """See `Transport.call`; raises the handler's SwarmError, PeerLostError, DeadlineError or InputError."""
        deadline = trio.current_time() + timeout_s
        if len(payload) <= self._inline_bytes_max:
            answer = await self._exchange(_REQUEST, method, payload, deadline, timeout_s)
        elif self.bulk is None:
            raise InputError(f"{method}: {len(payload)} bytes, at most {self._inline_bytes_max} allowed here")
        else:
            answer = await self._send_bulk_request(self.bulk, method, payload, deadline, timeout_s)
        if not isinstance(answer, _BulkAnswer):
            return answer
        assert self.bulk is not None
        with trio.move_on_at(deadline):
            return await self.bulk.receive(answer.request_id, Direction.RESPONSE, answer.size)
        raise DeadlineError(f"{method}: the answer was still arriving after {timeout_s:g} s")

    async def _exchange(
        self,
        kind: int,
        method: str,
        payload: bytes,
        deadline: float,
        timeout_s: float,
        *,
        sent: Callable[[int], None] | None = None,
    ) -> bytes | _BulkAnswer:
        if self.end is not None or self._retiring:
            raise PeerLostError(self.end.reason if self.end else "the channel is being closed")
        name = method.encode()
        if not 0 < len(name) <= METHOD_BYTES_MAX:
            raise InputError(f"a method's name has 1 to {METHOD_BYTES_MAX} bytes, not {len(name)}")
        size = 5 + len(name) + len(payload)
        if self._turns or not self._admits(size):
            await self._take_turn(size, deadline, method)
        else:
            self._used_bytes += size
            self._in_flight += 1
        request_id = self._request_id = self._request_id % U32_MAX + 1
        while request_id in self._calls:
            request_id = self._request_id = self._request_id % U32_MAX + 1
        call = _Call(self, request_id, deadline)
        self._calls[request_id] = call
        self.expire_at(deadline)
        timeout_ms = min(max(int((deadline - trio.current_time()) * 1000), 1), U32_MAX)
        self.send(encode_request(kind, request_id, timeout_ms, name, payload))
        if sent is not None:
            sent(request_id)
        try:
            return await call.wait()
        except _ExpiredError:
            raise DeadlineError(f"{method}: no answer within {timeout_s:g} s") from None
        finally:
            self._left()

    async def _send_bulk_request(
        self, bulk: BulkExchange, method: str, payload: bytes, deadline: float, timeout_s: float
    ) -> bytes | _BulkAnswer:
        bulk.check_size(len(payload))
        failure: SwarmError | None = None
        async with trio.open_nursery() as nursery:

            async def send(request_id: int) -> None:
                try:
                    await bulk.send(request_id, Direction.REQUEST, payload)
                except SwarmError as error:
                    self._conclude(request_id, error=error)

            try:
                answer = await self._exchange(
                    int(FrameKind.BULK_REQUEST),
                    method,
                    pack_u64(len(payload)),
                    deadline,
                    timeout_s,
                    sent=lambda request_id: nursery.start_soon(send, request_id),
                )
            except SwarmError as error:  # kept, because it would leave the nursery inside a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    def _admits(self, size: int) -> bool:
        fits = self._used_bytes + size <= self._window_bytes
        return fits and self._in_flight < self._settings.calls_max

    async def _take_turn(self, size: int, deadline: float, method: str) -> None:
        """Wait, first come first served, until the peer's window and our own cap have room."""
        if size > self._window_bytes:
            raise InputError(f"{method}: {size} bytes exceed the peer's window of {self._window_bytes} bytes")
        turn = _Turn(size)
        self._turns.append(turn)
        try:
            with trio.move_on_at(deadline):
                await turn.event.wait()
        except BaseException:
            if turn.admitted:  # cancelled just after its turn came
                self._in_flight -= 1
                self._used_bytes -= size
            self._forget(turn)
            raise
        if self.end is not None:
            raise PeerLostError(f"the channel ended: {self.end.reason}")
        if not turn.admitted:
            self._forget(turn)
            raise DeadlineError(f"{method}: the peer was too busy to take the call in time")

    def _left(self) -> None:
        self._in_flight -= 1
        if self._turns:
            self._admit()
        if self._retiring:
            self._close_if_idle()

    def _forget(self, turn: _Turn) -> None:
        if turn in self._turns:
            self._turns.remove(turn)
        self._admit()

    def _admit(self) -> None:
        while self._turns and self._admits(self._turns[0].size):
            turn = self._turns.popleft()
            turn.admitted = True
            self._in_flight += 1
            self._used_bytes += turn.size
            turn.event.set()

    def _conclude(self, request_id: int, *, error: SwarmError) -> None:
        call = self._calls.pop(request_id, None)
        if call is not None:
            call.error = error
            trio.lowlevel.reschedule(call.task)

    # -- the outbox, also used by `Serving` -----------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Queue a frame; never waits."""
        if self.end is not None:
            return
        self._out.append(frame)
        self._out_bytes += len(frame)
        self._wake_writer()
        if self._out_bytes > self._settings.queue_bytes_max:
            self._finish(ChannelEnd("the peer does not read what it asked for", farewell=False))

    async def drained(self) -> None:
        """Wait while so much is queued that more would only cost memory."""
        while self._out_bytes > _HIGH_WATER_BYTES and self.end is None:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def send_bulk(self, request_id: int, payload: bytes) -> None:
        """Answer on a bulk stream."""
        if self.bulk is None:
            raise InputError(f"the answer has {len(payload)} bytes, {self._settings.inline_bytes_max} fit this channel")
        self.bulk.check_size(len(payload))
        self.send(encode_u64(FrameKind.BULK_RESPONSE, request_id, len(payload)))
        await self.bulk.send(request_id, Direction.RESPONSE, payload)

    def expire_at(self, deadline: float) -> None:
        """Have deadlines looked at no later than `deadline`: one timer serves all calls."""
        if deadline < self._expiry.deadline:
            self._expiry.deadline = deadline

    # -- tasks --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Dispatch what arrives; apart from reading, it never waits."""
        calls, feed, receive = self._calls, self._decoder.feed, self._stream.receive_some
        frames, self._early = self._early, []
        try:
            while True:
                for frame in frames:
                    kind, request_id, body = frame
                    if kind == _RESPONSE:
                        call = calls.pop(request_id, None)
                        if call is not None:  # else it was cancelled or expired meanwhile
                            call.answer = body
                            trio.lowlevel.reschedule(call.task)
                    else:
                        self._dispatch(kind, request_id, body)
                if self._retiring:
                    self._close_if_idle()
                if self.end is not None:
                    return
                data = await receive(_READ_BYTES)
                if not data:
                    self._finish(ChannelEnd("the peer closed the connection", farewell=False))
                    return
                frames = feed(data)
        except ProtocolError as error:
            self._refuse("frame")
            self._finish(ChannelEnd(f"the peer broke the protocol: {error}", farewell=False))
        except _STREAM_ERRORS:
            self._finish(ChannelEnd("the connection broke", farewell=False))

    def _dispatch(self, kind: int, request_id: int, body: bytes) -> None:
        match kind:
            case FrameKind.REQUEST:
                timeout_ms, method, payload = parse_request(body)
                assert self._nursery is not None
                self._serving.begin(self._nursery, request_id, method, payload, timeout_ms, len(body))
            case FrameKind.ERROR:
                error_kind, message = parse_error(body)
                self._conclude(request_id, error=error_from_kind(error_kind, message))
            case FrameKind.WINDOW:
                given_back = parse_window(body)
                if given_back > self._used_bytes:
                    raise ProtocolError("the peer gave back more credit than was used")
                self._used_bytes -= given_back
                self._admit()
            case FrameKind.CANCEL:
                self._serving.cancel(request_id)
            case FrameKind.PING:
                self.send(encode_u64(FrameKind.PONG, 0, parse_u64(body)))
            case FrameKind.PONG:
                self._heartbeat.answered(parse_u64(body), trio.current_time())
            case FrameKind.BULK_REQUEST:
                self._begin_bulk(request_id, body)
            case FrameKind.BULK_RESPONSE:
                self._accept_bulk_answer(request_id, parse_u64(body))
            case FrameKind.CLOSE:
                self._finish(ChannelEnd(parse_close(body) or "the peer said goodbye", farewell=True), say=False)
            case _:
                raise ProtocolError("a second HELLO")

    def _begin_bulk(self, request_id: int, body: bytes) -> None:
        timeout_ms, method, payload = parse_request(body)
        size, bulk = parse_u64(payload), self.bulk
        if bulk is None:
            raise ProtocolError("a bulk payload on a channel without bulk streams")

        async def receive() -> bytes:
            return await bulk.receive(request_id, Direction.REQUEST, size)

        assert self._nursery is not None
        self._serving.begin(self._nursery, request_id, method, receive, timeout_ms, len(body))

    def _accept_bulk_answer(self, request_id: int, size: int) -> None:
        if self.bulk is None:
            raise ProtocolError("a bulk answer on a channel without bulk streams")
        call = self._calls.pop(request_id, None)
        if call is not None:
            call.answer = _BulkAnswer(request_id, size)
            trio.lowlevel.reschedule(call.task)

    async def _write(self) -> None:
        """Write whatever is queued at once: under load one write carries many frames.

        Shielded, because half a frame would make the farewell unreadable; `_finish` bounds what is left of it.
        """
        out, send_all = self._out, self._stream.send_all
        try:
            with self._writing:
                while True:
                    if not out:
                        if self.end is not None:
                            return
                        self._writer = trio.lowlevel.current_task()
                        await trio.lowlevel.wait_task_rescheduled(self._abort_write)
                        continue
                    data = b"".join(out) if len(out) > 1 else out[0]
                    out.clear()
                    await send_all(data)
                    self._out_bytes -= len(data)
                    if self._drained is not None and self._out_bytes <= _HIGH_WATER_BYTES:
                        self._drained.set()
                        self._drained = None
        except _STREAM_ERRORS:
            self._finish(ChannelEnd("the connection broke", farewell=False))

    def _wake_writer(self) -> None:
        writer = self._writer
        if writer is not None:
            self._writer = None
            trio.lowlevel.reschedule(writer)

    def _abort_write(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        self._writer = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def _expire(self) -> None:
        """End what is past its deadline, ours and theirs (invariant N-3)."""
        while True:
            now = trio.current_time()
            for request_id, call in list(self._calls.items()):
                if call.deadline <= now:
                    self.send(encode_frame(FrameKind.CANCEL, request_id))
                    self._conclude(request_id, error=_ExpiredError())
            earliest = min((call.deadline for call in self._calls.values()), default=math.inf)
            self._expiry = trio.CancelScope(deadline=min(earliest, self._serving.expire(now)))
            with self._expiry:
                await trio.sleep_forever()

    async def _beat(self) -> None:
        number = 0
        while True:
            number += 1
            if not self._heartbeat.tick(number, trio.current_time()):
                self._finish(ChannelEnd("the peer stopped answering", farewell=False))
                return
            self.send(encode_u64(FrameKind.PING, 0, number))
            await trio.sleep(self._settings.heartbeat_s)

    # -- the end --------------------------------------------------------------------------------------------------

    def _finish(self, end: ChannelEnd, *, say: bool = True) -> None:
        """Set the end, once; fail what is under way and stop the tasks."""
        if self.end is not None:
            return
        self.end = end
        if end.farewell and say:
            self._out.append(encode_close(end.reason))
            self._farewell_sent = True
            self._writing.deadline = trio.current_time() + self._settings.close_timeout_s
        else:
            self._writing.cancel()
        self._wake_writer()
        for request_id in list(self._calls):
            self._conclude(request_id, error=PeerLostError(f"the channel ended: {end.reason}"))
        for turn in self._turns:
            turn.event.set()
        self._turns.clear()
        if self._drained is not None:
            self._drained.set()
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _part(self) -> None:
        """Close the stream; after a farewell, once the peer has had time to read it and closed its side."""
        with contextlib.suppress(*_STREAM_ERRORS):
            if self._farewell_sent:
                while await self._stream.receive_some(_READ_BYTES):
                    pass
        await self._close_stream()

    async def _close_stream(self) -> None:
        with contextlib.suppress(*_STREAM_ERRORS):
            await self._stream.aclose()

    def _close_if_idle(self) -> None:
        if not (self._calls or self._turns or self._in_flight or self._serving.in_progress):
            self.close("duplicate")


class _ExpiredError(DeadlineError):
    """This side's own deadline passed, as opposed to one that the peer reports."""


class _BulkAnswer:
    """The answer is still arriving on its own stream."""

    __slots__ = ("request_id", "size")

    def __init__(self, request_id: int, size: int) -> None:
        self.request_id = request_id
        self.size = size


class _Call:
    """One call that waits for its answer."""

    __slots__ = ("_channel", "answer", "deadline", "error", "request_id", "task")

    def __init__(self, channel: Channel, request_id: int, deadline: float) -> None:
        self._channel = channel
        self.request_id = request_id
        self.deadline = deadline
        self.task = trio.lowlevel.current_task()
        self.answer: bytes | _BulkAnswer = b""
        self.error: SwarmError | None = None

    async def wait(self) -> bytes | _BulkAnswer:
        """Return the answer, or raise what was reported instead."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self.error is not None:
            raise self.error
        return self.answer

    def _abort(self, _raise_cancel: Callable[[], NoReturn]) -> trio.lowlevel.Abort:
        """The caller was cancelled: so is the handler."""
        self._channel._calls.pop(self.request_id, None)
        self._channel.send(encode_frame(FrameKind.CANCEL, self.request_id))
        return trio.lowlevel.Abort.SUCCEEDED


class _Turn:
    """One call that waits for room."""

    __slots__ = ("admitted", "event", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.event = trio.Event()
        self.admitted = False
