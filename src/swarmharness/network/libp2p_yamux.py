"""A Yamux connection that bounds what its peer may open, send and leave unread; it keeps no rule of any protocol above.

It takes the place of libp2p's own, which enforces no window and no number of streams, works on when its connection is
dead, and reads for as long as a peer sends. Here a peer that breaks the protocol ends its connection, one that is too
fast waits, and one that has too many streams open or too much unread loses streams.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import trio
from libp2p.abc import ConnectionType, IMuxedConn, ISecureConn
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamReset

from swarmharness.errors import ProtocolError
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.turns import Turns
from swarmharness.network.yamux_frames import GO_AWAY, NORMAL, PROTOCOL_ERROR, RST, WINDOW, FrameReader, Header, header
from swarmharness.network.yamux_intake import MuxerEndError, YamuxIntake
from swarmharness.network.yamux_node import MuxerFault, YamuxNode

_LOG = logging.getLogger(__name__)
_READ_BYTES = 65_536
_CLOSE_S = 0.5
_LOOK_FRAMES = 32
"""Frames between two looks at the clock."""
_BROKEN = (IOException, RawConnError, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a connection that is gone looks like."""


class YamuxConnection(IMuxedConn):  # type: ignore[misc]
    """See `IMuxedConn`. Connections of one `group` share the turns in which they are read."""

    on_close: Callable[[], Awaitable[None]] | None = None
    """Set by libp2p."""

    def __init__(
        self, conn: ISecureConn, peer_id: ID, node: YamuxNode, *, group: str = "", known: bool = False
    ) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.peer: str = peer_id.to_base58()
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.writing = Turns()
        """Held by whoever writes a frame."""
        self.parity = int(conn.is_initiator)
        """Of the numbers of this side's streams."""
        self.window_bytes_max = node.limits.stream_window_bytes_max
        self.heard_s = trio.current_time()
        """When anything came last."""
        self.held_bytes = 0
        """What arrived and was not read."""
        self._node = node
        self.group = group or self.peer
        """Whose share it takes from."""
        self.known = known
        self._next_number = 1 if conn.is_initiator else 2
        self._streams: dict[int, YamuxStream] = {}
        self._intake = YamuxIntake(self, node)
        self._opened: deque[YamuxStream] = deque()
        self._handed_up = 0
        """Streams, since somebody paid for them with a turn."""
        self._acceptors = trio.lowlevel.ParkingLot()
        self._controls = bytearray()
        self._controls_due = trio.lowlevel.ParkingLot()
        self._ended = self._closing = False
        self._code = NORMAL

    # -- libp2p -----------------------------------------------------------------------------------------------------

    @property
    def is_initiator(self) -> bool:
        """See `IMuxedConn`."""
        return bool(self.parity)

    @property
    def is_established(self) -> bool:
        """See `IMuxedConn`."""
        return self.event_started.is_set() and not self._ended

    @property
    def is_closed(self) -> bool:
        """See `IMuxedConn`."""
        return self.event_closed.is_set()

    async def start(self) -> None:
        """Read until the connection ends, and close it then."""
        self._node.connections.add(self)
        self.event_started.set()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write_controls)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self.close()

    async def close(self) -> None:
        """End all streams and the connection, without waiting for the peer."""
        if self._closing:
            return
        self._closing, broken = True, self._ended
        self._end()
        try:
            with trio.move_on_after(_CLOSE_S):
                if not broken:
                    async with self.writing:
                        await self.secured_conn.write(header(GO_AWAY, 0, 0, self._code))
        except _BROKEN:
            pass
        finally:
            await self._close_below()
            self.event_closed.set()
            if self.on_close is not None:
                await self.on_close()

    async def open_stream(self) -> YamuxStream:
        """See `IMuxedConn`: the peer hears of it with the first frame. Raises MuxedConnUnavailable."""
        if self._ended:
            raise MuxedConnUnavailable("the connection has ended")
        number, self._next_number = self._next_number, self._next_number + 2
        stream = YamuxStream(self, number, opened_here=True, now_s=trio.current_time())
        self._streams[number] = stream
        return stream

    async def accept_stream(self) -> YamuxStream:
        """See `IMuxedConn`; raises MuxedConnUnavailable at the end."""
        while not self._opened:
            if self._ended:
                raise MuxedConnUnavailable("the connection has ended")
            await self._acceptors.park()
        return self._opened.popleft()

    def get_remote_address(self) -> tuple[str, int] | None:
        """See `IMuxedConn`."""
        address: tuple[str, int] | None = self.secured_conn.get_remote_address()
        return address

    def get_transport_addresses(self) -> list[Any]:
        """See `IMuxedConn`."""
        return list(self.secured_conn.get_transport_addresses())

    def get_connection_type(self) -> ConnectionType:
        """See `IMuxedConn`."""
        return self.secured_conn.get_connection_type()

    # -- for its streams and its intake -----------------------------------------------------------------------------

    def stream(self, number: int) -> YamuxStream | None:
        """Return an open stream."""
        return self._streams.get(number)

    def streams(self) -> list[YamuxStream]:
        """Return all open streams."""
        return list(self._streams.values())

    @property
    def silent_streams(self) -> int:
        """How many streams the peer has opened and said nothing on."""
        return self._intake.silent_streams

    def lose_silent_stream(self) -> None:
        """Reset the oldest of them."""
        self.reset(self._intake.oldest_silent())

    def opened(self, stream: YamuxStream) -> None:
        """Take a stream that the peer opened."""
        self._streams[stream.number] = stream

    def hand_up(self, stream: YamuxStream) -> None:
        """Hand a stream up on which the peer has said something; a silent one costs nobody anything."""
        self._opened.append(stream)
        self._acceptors.unpark()
        self._handed_up += 1

    def hold(self, stream: YamuxStream, piece: bytes) -> bool:
        """Give a stream what has arrived for it; returns whether there was room, and if not, it has been reset."""
        size = stream.cost_bytes(piece)
        if not self._node.hold(stream, size):
            return False
        self.held_bytes += size
        stream.arrive(piece)
        return True

    def release(self, size: int) -> None:
        """Count bytes that were read, or given up."""
        self.held_bytes -= size
        self._node.release(size)

    def forget(self, stream: YamuxStream) -> None:
        """Note that a stream is over."""
        if self._streams.pop(stream.number, None) is not None:
            self._intake.forget(stream.number)

    def end_stream(
        self, stream: YamuxStream, failure: type[MuxedStreamReset | MuxedConnUnavailable] = MuxedStreamReset
    ) -> None:
        """End both directions of a stream, with what was not read."""
        self.release(stream.held_bytes)
        stream.fail(failure)
        self.forget(stream)

    def reset(self, stream: YamuxStream, *, said: bool = True) -> None:
        """Give a stream up; the peer is told, if it heard of the stream."""
        self.end_stream(stream)
        if said:
            self.control(header(WINDOW, RST, stream.number))

    async def write(self, frame: bytes) -> None:
        """Write a frame, after what had to be answered; who calls holds `writing`. Raises MuxedConnUnavailable."""
        if self._ended:
            raise MuxedConnUnavailable("the connection has ended")
        if self._controls:
            frame = bytes(self._controls) + frame
            self._controls.clear()
        try:
            await self.secured_conn.write(frame)
        except _BROKEN as error:
            self._end()
            await self._close_below()  # which wakes whoever reads
            raise MuxedConnUnavailable("the connection broke") from error

    def control(self, frame: bytes) -> None:
        """Have an answer written soon: whoever reads must not wait for the peer to read."""
        if not self._ended:
            self._controls += frame
            self._controls_due.unpark_all()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _write_controls(self) -> None:
        while True:
            while not self._controls:
                await self._controls_due.park()
            async with self.writing:
                if self._controls:
                    try:
                        await self.write(b"")
                    except MuxedConnUnavailable:
                        return

    async def _read(self) -> None:
        """Take what comes until the connection ends, in turns with all others."""
        read = getattr(self.secured_conn, "read_message", None) or partial(self.secured_conn.read, _READ_BYTES)
        frames, turn = FrameReader(), _Turn(self._node, self.group, self.known)
        try:
            while not self._ended and (data := await read()):
                await turn.begin()
                count = await self._take_all(frames.read(data), turn)
                if not self._node.may_go_on(self, count):
                    self._node.refuse(MuxerFault.FRAMES, self.peer)
                    pause_s = count / self._node.frames.per_s
                    await self._wait_until(partial(self._node.may_go_on, frames=count), pause_s)
        except MuxerEndError as end:
            if end.fault is not None:
                self._refuse(end.fault)
        except ProtocolError:
            self._refuse(MuxerFault.FRAME)
        except _BROKEN as error:
            _LOG.debug("a connection ended: %r", error)

    async def _take_all(self, events: Iterator[Header | bytes], turn: _Turn) -> int:
        """Take what was read, unless the connection ends meanwhile; returns how many headers and pieces it was."""
        count = 0
        now_s = self.heard_s = trio.current_time()
        for event in events:
            self._intake.take(event, now_s)
            count += 1
            if self._intake.too_fast:
                self._intake.too_fast = False
                await self._wait_until(self._node.may_open, self._node.open_pause_s)
            elif self._handed_up:
                turn.pay(self._handed_up)
                self._handed_up = 0
                await turn.go_on()
            elif count % _LOOK_FRAMES:
                continue
            else:
                await turn.go_on()
            if self._ended:
                break
            now_s = trio.current_time()
        turn.pause()
        return count

    async def _wait_until(self, may: Callable[[YamuxConnection], bool], pause_s: float) -> None:
        """Let a peer wait that is too fast; raises MuxerEndError when it has hung up, which nobody would read."""
        link = getattr(self.secured_conn, "link", None)
        while not may(self):
            await trio.sleep(pause_s)
            if link is not None and link.hung_up():
                raise MuxerEndError(None)

    def _refuse(self, fault: MuxerFault) -> None:
        self._code = PROTOCOL_ERROR
        self._node.refuse(fault, self.peer)

    def _end(self) -> None:
        self._ended = True
        self._node.connections.discard(self)
        for stream in self.streams():
            self.end_stream(stream, MuxedConnUnavailable)
        self._opened.clear()
        self._controls.clear()
        self._acceptors.unpark_all()

    async def _close_below(self) -> None:
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                await self.secured_conn.close()
        except _BROKEN:
            pass


class _Turn:
    """The processor time that a reader was granted."""

    def __init__(self, node: YamuxNode, group: str, known: bool) -> None:
        self._turns = node.turns
        self._group, self._known = group, known
        self._left_s = 0.0
        self._began_s = 0.0

    async def begin(self) -> None:
        """Wait for a turn if the last one is used up."""
        if self._left_s <= 0:
            await self._turns.take(self._group, known=self._known)
            self._left_s = self._turns.turn_s
        self._began_s = self._turns.clock_s()

    def pause(self) -> None:
        """Count the time since `begin`."""
        self._left_s -= self._turns.clock_s() - self._began_s

    def pay(self, turns: int) -> None:
        """Count what others have to do for this connection."""
        self._left_s -= turns * self._turns.turn_s

    async def go_on(self) -> None:
        """Let others have their turn if this one is used up."""
        self.pause()
        await self.begin()
