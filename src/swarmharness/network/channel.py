"""One channel to one peer: calls with deadlines and cancellation on a byte stream; it never dials and never retries."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarmharness.errors import (
    DeadlineError,
    InputError,
    ProtocolError,
    RefusedError,
    SwarmError,
    cause_text,
    error_from_kind,
)
from swarmharness.identity import PeerId
from swarmharness.network.bulk import BulkExchange, Direction
from swarmharness.network.byte_stream import STREAM_ERRORS, ByteStream
from swarmharness.network.calling import Answer, BulkAnswer, Calls
from swarmharness.network.greeting import greet
from swarmharness.network.handlers import Handlers, check_answer
from swarmharness.network.heartbeat import Heartbeat
from swarmharness.network.outbox import Outbox
from swarmharness.network.reading import LOOK_US, READ_BYTES, Reading, cost_us
from swarmharness.network.room import PeerRoom, private_room
from swarmharness.network.serving import Announced, Serving
from swarmharness.network.settings import ChannelSettings
from swarmharness.network.work_turns import FRAME_US, REFUSAL_US
from swarmharness.protocol.frame import (
    Frame,
    FrameKind,
    encode_frame,
    encode_u64,
    pack_u64,
    parse_close,
    parse_error,
    parse_request,
    parse_u64,
    parse_window,
)
from swarmharness.protocol.handshake import Hello

DUPLICATE = "duplicate"
"""The farewell on a channel to a peer that has another one."""
_REQUEST, _BULK_REQUEST = int(FrameKind.REQUEST), int(FrameKind.BULK_REQUEST)
_RESPONSE = int(FrameKind.RESPONSE)
_ECHO = 2**63
"""The number of a PING that is no heartbeat."""


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
    `heard_s` returns when anything came from the peer last, also beside this channel.
    `room` is the peer's part of what all channels of the node share.
    """

    def __init__(
        self,
        stream: ByteStream,
        peer_id: PeerId,
        handlers: Handlers,
        settings: ChannelSettings | None = None,
        *,
        bulk: BulkExchange | None = None,
        room: PeerRoom | None = None,
        refuse: Callable[[str], None] = lambda reason: None,
        heard_s: Callable[[], float] = lambda: -math.inf,
        first_request_id: int = 1,
    ) -> None:
        self.peer_id = peer_id
        self.end: ChannelEnd | None = None
        self.on_end: Callable[[], None] = lambda: None
        """Called once when the channel ends, before the calls under way fail."""
        self._bulk = bulk
        self._stream = stream
        self._settings = settings or ChannelSettings()
        self._inline_bytes_max = self._settings.inline_bytes_max
        self._count_refusal = refuse
        self._refused_us = 0
        """Work for refusals, since it was last looked at."""
        self._early: list[Frame] = []
        self._room = room or private_room()
        self._reading = Reading(stream, self._settings.frame_bytes_max, self._room, refuse)
        self._outbox = Outbox(
            stream,
            self._settings.queue_bytes_max,
            self._room.bytes,
            broken=lambda: self._finish(ChannelEnd("the connection broke", farewell=False)),
            overfull=self._end_unread,
        )
        self._calls = Calls(self._outbox, self._settings.calls_max, first_request_id, self.expire_at)
        self._serving = Serving(peer_id, handlers, self._settings, self, self._refuse, self._room)
        self._heartbeat = Heartbeat(self._settings.heartbeat_s)
        self._heard_s = heard_s
        self._expiry = trio.CancelScope()
        self._echoed = trio.Event()
        self._nursery: trio.Nursery | None = None

    @property
    def round_trip_us(self) -> int | None:
        """A smoothed round-trip time, or None before the first heartbeat was answered."""
        return self._heartbeat.round_trip_us

    # -- life ---------------------------------------------------------------------------------------------------

    async def handshake(self) -> Hello:
        """Exchange HELLOs; raises ProtocolError, PeerLostError or DeadlineError, and then the stream is closed."""
        try:
            theirs, self._early = await greet(self._stream, self._reading.decoder, self._settings, self._refuse)
        except BaseException as error:
            self._finish(ChannelEnd(cause_text(error), farewell=False))
            raise
        self._calls.set_window(theirs.window_bytes)
        self._inline_bytes_max = min(self._settings.inline_bytes_max, theirs.window_bytes // 2)
        return theirs

    async def run(self) -> ChannelEnd:
        """Serve until the channel ends; returns why. Cancelling it ends the channel with a farewell."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                if self.end is not None:
                    nursery.cancel_scope.cancel()
                nursery.start_soon(self._outbox.write)
                nursery.start_soon(self._expire)
                if self._settings.heartbeat_s > 0:
                    nursery.start_soon(self._beat)
                try:
                    await self._read()
                finally:
                    self._finish(ChannelEnd("the other node is stopping", farewell=True))
        finally:
            self._serving.end()
            self._reading.end()
            await self._part()
        assert self.end is not None
        return self.end

    def close(self, reason: str) -> None:
        """Say goodbye and end the channel; calls under way raise PeerLostError on both sides."""
        self._finish(ChannelEnd(reason, farewell=True))

    async def answers(self, timeout_s: float) -> bool:
        """Tell whether the other end still answers on this channel."""
        if self.end is None:
            self._echoed = trio.Event()
            self.send(encode_u64(FrameKind.PING, 0, _ECHO))
            with trio.move_on_after(timeout_s):
                await self._echoed.wait()
        return self.end is None and self._echoed.is_set()

    def retire(self) -> None:
        """Say goodbye as soon as nothing is under way in either direction."""
        self._calls.left = self._serving.left = self._close_if_idle
        self._close_if_idle()

    # -- calling ------------------------------------------------------------------------------------------------

    async def call(self, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """See `Transport.call`; raises the handler's SwarmError, PeerLostError, DeadlineError or InputError.

        ProtocolError if the answer is larger than that of the method can be: it is not received, and CANCEL says so.
        """
        deadline = trio.current_time() + timeout_s
        if len(payload) <= self._inline_bytes_max:
            answer = await self._calls.exchange(_REQUEST, method, payload, deadline, timeout_s)
        elif self._bulk is None:
            raise InputError(f"{method}: {len(payload)} bytes, at most {self._inline_bytes_max} allowed here")
        else:
            answer = await self._call_with_bulk(self._bulk, method, payload, deadline, timeout_s)
        if not isinstance(answer, BulkAnswer):
            check_answer(method, len(answer), self._refuse)
            return answer
        assert self._bulk is not None
        try:
            check_answer(method, answer.size, self._refuse)
        except ProtocolError:
            self.send(encode_frame(FrameKind.CANCEL, answer.request_id))
            raise
        with trio.move_on_at(deadline):
            return await self._bulk.receive(answer.request_id, Direction.RESPONSE, answer.size)
        raise DeadlineError(f"{method}: the answer was still arriving after {timeout_s:g} s")

    async def _call_with_bulk(
        self, bulk: BulkExchange, method: str, payload: bytes, deadline: float, timeout_s: float
    ) -> Answer:
        bulk.check_size(len(payload))
        failure: SwarmError | None = None
        async with trio.open_nursery() as nursery:

            async def send(request_id: int) -> None:
                try:
                    await bulk.send(request_id, Direction.REQUEST, payload)
                except SwarmError as error:
                    self._calls.fail(request_id, error)

            def sent(request_id: int) -> None:
                nursery.start_soon(send, request_id)

            try:
                answer = await self._calls.exchange(
                    _BULK_REQUEST, method, pack_u64(len(payload)), deadline, timeout_s, sent=sent
                )
            except SwarmError as error:  # kept, because it would leave the nursery inside a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return answer

    # -- what `Serving` needs -------------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        """Queue a frame; never waits."""
        self._outbox.send(frame)

    async def drained(self) -> None:
        """Wait while too much is queued."""
        await self._outbox.drained()

    async def send_bulk(self, request_id: int, payload: bytes) -> None:
        """Answer on a bulk stream."""
        if self._bulk is None:
            problem = f"the answer has {len(payload)} bytes, {self._settings.inline_bytes_max} fit this channel"
            raise InputError(problem).for_peers()
        self._bulk.check_size(len(payload))
        self.send(encode_u64(FrameKind.BULK_RESPONSE, request_id, len(payload)))
        await self._bulk.send(request_id, Direction.RESPONSE, payload)

    def expire_at(self, deadline: float) -> None:
        """Have deadlines looked at no later than `deadline`: one timer serves all calls of both sides."""
        if deadline < self._expiry.deadline:
            self._expiry.deadline = deadline

    # -- tasks --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        """Dispatch what arrives; apart from reading, it waits only for its turn when it did much."""
        answer, reading, work_us = self._calls.answer, self._reading, 0
        frames: list[Frame] | None
        frames, self._early = self._early, []
        try:
            while True:
                for kind, request_id, body in frames:
                    if kind == _RESPONSE:
                        answer(request_id, body)
                        work_us += FRAME_US
                    else:
                        self._dispatch(kind, request_id, body)
                        work_us += cost_us(kind, len(body))
                    if work_us >= LOOK_US:
                        await reading.rest(work_us)
                        work_us = 0
                work_us, self._refused_us = work_us + self._refused_us, 0
                if self.end is not None:
                    return
                frames = await reading.frames()
                if frames is None:
                    self._finish(ChannelEnd("the peer closed the connection", farewell=False))
                    return
        except RefusedError as error:
            self._finish(ChannelEnd(str(error), farewell=False))
        except ProtocolError as error:
            self._refuse("frame")
            self._finish(ChannelEnd(f"the peer broke the protocol: {error}", farewell=False))
        except STREAM_ERRORS:
            self._finish(ChannelEnd("the connection broke", farewell=False))

    def _refuse(self, reason: str) -> None:
        self._refused_us += REFUSAL_US
        self._count_refusal(reason)

    def _end_unread(self) -> None:
        self._refuse("not read")
        self._finish(ChannelEnd("the peer does not read what it asked for", farewell=False))

    def _dispatch(self, kind: int, request_id: int, body: bytes) -> None:
        match kind:
            case FrameKind.REQUEST:
                timeout_ms, method, payload = parse_request(body)
                assert self._nursery is not None
                self._serving.begin(self._nursery, request_id, method, payload, timeout_ms, len(body))
            case FrameKind.ERROR:
                error_kind, message = parse_error(body)
                self._calls.fail(request_id, error_from_kind(error_kind, message))
            case FrameKind.WINDOW:
                self._calls.give_back(parse_window(body))
            case FrameKind.CANCEL:
                self._serving.cancel(request_id)
            case FrameKind.PING:
                self.send(encode_u64(FrameKind.PONG, 0, parse_u64(body)))
            case FrameKind.PONG:
                number = parse_u64(body)
                if number == _ECHO:
                    self._echoed.set()
                self._heartbeat.answered(number, trio.current_time())
            case FrameKind.BULK_REQUEST:
                self._begin_bulk(request_id, body)
            case FrameKind.BULK_RESPONSE:
                if self._bulk is None:
                    raise ProtocolError("a bulk answer on a channel without bulk streams")
                self._calls.answer(request_id, BulkAnswer(request_id, parse_u64(body)))
            case FrameKind.CLOSE:
                self._finish(ChannelEnd(parse_close(body) or "the peer said goodbye", farewell=True), say=False)
            case _:
                raise ProtocolError("a second HELLO")

    def _begin_bulk(self, request_id: int, body: bytes) -> None:
        timeout_ms, method, payload = parse_request(body)
        size, bulk = parse_u64(payload), self._bulk
        if bulk is None:
            raise ProtocolError("a bulk payload on a channel without bulk streams")

        assert self._nursery is not None
        announced = Announced(size, lambda: bulk.receiving(request_id, Direction.REQUEST, size))
        self._serving.begin(self._nursery, request_id, method, announced, timeout_ms, len(body))

    async def _expire(self) -> None:
        """End what is past its deadline, ours and theirs (invariant N-3)."""
        while True:
            now = trio.current_time()
            self._expiry = trio.CancelScope(deadline=min(self._calls.expire(now), self._serving.expire(now)))
            with self._expiry:
                await trio.sleep_forever()

    async def _beat(self) -> None:
        number = 0
        while True:
            number += 1
            if not self._heartbeat.tick(number, trio.current_time(), self._heard_s()):
                self._finish(ChannelEnd("the peer stopped answering", farewell=False))
                return
            self.send(encode_u64(FrameKind.PING, 0, number))
            self._room.look()
            await trio.sleep(self._settings.heartbeat_s)

    # -- the end --------------------------------------------------------------------------------------------------

    def _finish(self, end: ChannelEnd, *, say: bool = True) -> None:
        """Set the end, once; fail what is under way and stop the tasks."""
        if self.end is not None:
            return
        self.end = end
        self._outbox.close(end.reason if end.farewell and say else None, self._settings.close_timeout_s)
        self.on_end()
        self._calls.end(end.reason)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    async def _part(self) -> None:
        """Close the stream; after a farewell, once the peer has had time to read it and closed its side."""
        with trio.CancelScope(shield=True) as scope, contextlib.suppress(*STREAM_ERRORS):
            scope.deadline = trio.current_time() + self._settings.close_timeout_s
            while self._outbox.said_goodbye and await self._stream.receive_some(READ_BYTES):
                pass
        with trio.CancelScope(shield=True) as scope, contextlib.suppress(*STREAM_ERRORS):
            scope.deadline = trio.current_time() + self._settings.close_timeout_s
            await self._stream.aclose()

    def _close_if_idle(self) -> None:
        if not (self._calls.in_progress or self._serving.in_progress):
            self.close(DUPLICATE)
