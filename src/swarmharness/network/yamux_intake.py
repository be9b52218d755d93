"""Judges the frames of one Yamux connection and hands them to its streams; it reads and writes nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.network.yamux_frames import ACK, FIN, GO_AWAY, PING, RST, SYN, WINDOW, Header, header
from swarmharness.network.yamux_node import MuxerFault, YamuxNode

if TYPE_CHECKING:
    from swarmharness.network.libp2p_yamux import YamuxConnection

_LINGER_S = 10.0
"""How long a stream that this side has ended may wait for the other side, when there is need for its place."""


class MuxerEndError(Exception):
    """The connection has to end: the peer said so (no fault), or did what is not allowed."""

    def __init__(self, fault: MuxerFault | None) -> None:
        super().__init__(fault or "the peer ended the connection")
        self.fault = fault


class YamuxIntake:
    """The reading side of a connection."""

    def __init__(self, connection: YamuxConnection, node: YamuxNode) -> None:
        self._connection = connection
        self._node = node
        limits = node.limits
        self._pings = TokenBuckets(per_s=limits.muxer_pings_per_s, burst=4 * limits.muxer_pings_per_s)
        self._inbound: dict[int, YamuxStream] = {}
        self._silent: dict[int, None] = {}
        """Numbers of inbound ones on which nothing was said yet."""
        self._target: YamuxStream | None = None
        """Whose body comes; None for one that is gone."""
        self._missing_bytes = 0
        self._ends = False
        self.too_fast = False
        """Whether the peer has to wait before it may open another stream; whoever reads sees to it."""

    @property
    def silent_streams(self) -> int:
        """How many streams the peer has opened and said nothing on."""
        return len(self._silent)

    def oldest_silent(self) -> YamuxStream:
        """Return the oldest of them; there has to be one."""
        return self._inbound[next(iter(self._silent))]

    def take(self, event: Header | bytes, now_s: float) -> None:
        """Take a header or a piece of a body; raises MuxerEndError."""
        if isinstance(event, bytes):
            self._take_piece(event)
        elif event.kind == PING:
            self._take_ping(event, now_s)
        elif event.kind == GO_AWAY:
            raise MuxerEndError(None)
        else:
            self._take_stream(event, now_s)

    def forget(self, number: int) -> None:
        """Note that a stream is over."""
        if self._inbound.pop(number, None) is not None:
            self._spoken(number)

    def _take_stream(self, event: Header, now_s: float) -> None:
        kind, flags, number, length = event
        stream = self._open(number, now_s) if flags & SYN else self._connection.stream(number)
        if kind == WINDOW:
            if stream is not None:
                stream.grant(length)
        elif stream is not None and not stream.expect(length):
            raise MuxerEndError(MuxerFault.WINDOW)
        else:
            self._target, self._missing_bytes, self._ends = stream, length, bool(flags & FIN)
        if stream is None:
            return
        if flags & RST:
            self._connection.end_stream(stream)
        elif flags & FIN and (kind == WINDOW or not length):
            self._end(stream)

    def _take_piece(self, piece: bytes) -> None:
        self._missing_bytes -= len(piece)
        stream = self._target
        if stream is None or stream.over:
            return
        if not self._connection.hold(stream, piece):
            self._target = None
            return
        if self._spoken(stream.number):
            self._connection.hand_up(stream)
        if not self._missing_bytes and self._ends:
            self._end(stream)

    def _end(self, stream: YamuxStream) -> None:
        stream.end_there()
        if stream.number in self._silent:  # it said nothing at all
            self._connection.reset(stream)
        if stream.over:
            self._connection.forget(stream)

    def _spoken(self, number: int) -> bool:
        if number not in self._silent:
            return False
        del self._silent[number]
        self._node.spoken()
        return True

    def _take_ping(self, event: Header, now_s: float) -> None:
        if not event.flags & SYN:
            return  # an answer: this side asks nothing
        if not self._pings.take("", 1, int(now_s * 1_000_000)):
            raise MuxerEndError(MuxerFault.PINGS)
        self._connection.control(header(PING, ACK, 0, event.length))

    def _open(self, number: int, now_s: float) -> YamuxStream | None:
        connection = self._connection
        if not number or number % 2 == connection.parity or connection.stream(number) is not None:
            raise MuxerEndError(MuxerFault.FRAME)
        if not self._node.may_open(connection):
            self.too_fast = True
            self._node.refuse(MuxerFault.OPENS, connection.peer)
        if not self._has_place(now_s):
            self._node.refuse(MuxerFault.STREAMS, connection.peer)
            connection.control(header(WINDOW, RST, number))
            return None
        stream = self._inbound[number] = YamuxStream(connection, number, opened_here=False, now_s=now_s)
        self._silent[number] = None
        connection.opened(stream)
        return stream

    def _has_place(self, now_s: float) -> bool:
        limit = self._node.limits.streams_per_connection_max
        if len(self._inbound) >= limit:
            lingering = [one for one in self._inbound.values() if one.ended_here and now_s - one.closed_s > _LINGER_S]
            for stream in lingering:
                self._connection.reset(stream)
        return len(self._inbound) < limit and self._node.open(self._connection)
