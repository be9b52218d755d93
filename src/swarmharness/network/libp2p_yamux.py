"""A Yamux connection that bounds what its peer may open, send and leave unread; it keeps no rule of any protocol above.

It takes the place of libp2p's own, which enforces no window and no number of streams, works on when its connection is
dead, and reads for as long as a peer sends. Here a peer that breaks the protocol ends its connection, one that is too
fast waits, and one that has too many streams open or too much unread loses streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from libp2p.abc import ConnectionType, IMuxedConn, ISecureConn
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamReset

from swarmharness.network.libp2p_yamux_reading import BROKEN, YamuxReading
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.turns import Turns
from swarmharness.network.yamux_frames import GO_AWAY, NORMAL, PROTOCOL_ERROR, RST, WINDOW, header
from swarmharness.network.yamux_intake import YamuxIntake
from swarmharness.network.yamux_node import YamuxNode

_CLOSE_S = 0.5


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
        self.handed_up = 0
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
    def ended(self) -> bool:
        """Whether it ended, or is about to."""
        return self._ended

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
                fault = await YamuxReading(self, self._intake, self._node).run()
                if fault is not None:
                    self._code = PROTOCOL_ERROR
                    self._node.refuse(fault, self.peer)
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
        except BROKEN:
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
        self.handed_up += 1

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
        except BROKEN as error:
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
        except BROKEN:
            pass
