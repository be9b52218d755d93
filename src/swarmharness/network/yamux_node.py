"""What the Yamux connections of one node share: limits on streams and unread bytes, turns, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

import trio

from swarmharness.network.fair_turns import FairTurns
from swarmharness.network.limits import Limits
from swarmharness.network.token_buckets import TokenBuckets

if TYPE_CHECKING:
    from swarmharness.network.libp2p_yamux import YamuxConnection
    from swarmharness.network.libp2p_yamux_stream import YamuxStream

_STALE_S = 1.0
"""Bytes that nobody read for so long are given up first; whoever reads at all, reads sooner."""


_BURST_S = 2
_KNOWN = 16
"""Times as many streams as all strangers of a network may be opened by each peer that is known."""
FRAMES_MAX = 2 * 65_536 // 12
"""Of one piece that is read."""


class MuxerFault(StrEnum):
    """What a peer does to a muxer that is refused; the names are those of counters."""

    FRAME = "muxer: frame"
    """It is no Yamux, or opens a stream that cannot be opened."""
    WINDOW = "muxer: window"
    """More bytes came than were granted."""
    PINGS = "muxer: pings"
    OPENS = "muxer: stream opens"
    """Streams are opened too fast: the peer waits."""
    FRAMES = "muxer: frames"
    """More come than anybody needs: the peer waits."""
    STREAMS = "muxer: streams"
    """Too many are open."""
    UNREAD = "muxer: unread bytes"
    """Too many bytes wait that nobody reads."""


class YamuxNode:
    """One for each node. `refuse` is told the fault and the peer."""

    def __init__(self, limits: Limits, turns: FairTurns, refuse: Callable[[MuxerFault, str], None]) -> None:
        self.limits = limits
        self.turns = turns
        self.refuse = refuse
        opens, frames = limits.stream_opens_per_s, limits.muxer_frames_per_s
        self._opens = TokenBuckets(per_s=opens, burst=_BURST_S * opens)
        self._opens_known = TokenBuckets(per_s=_KNOWN * opens, burst=_BURST_S * _KNOWN * opens)
        """By group, so that who connects again has no more."""
        self.open_pause_s = 1 / opens
        """How long to wait before trying again."""
        self.waiting = 0
        """How many connections wait because their peers were too fast."""
        self.frames = TokenBuckets(per_s=frames, burst=2 * max(frames, FRAMES_MAX))
        self.connections: set[YamuxConnection] = set()
        self._silent = 0
        self._held_bytes = 0

    @property
    def silent_streams(self) -> int:
        """How many streams peers have opened and said nothing on."""
        return self._silent

    @property
    def held_bytes(self) -> int:
        """What arrived on all streams and was not read."""
        return self._held_bytes

    def may_open(self, connection: YamuxConnection) -> bool:
        """Count a stream that is opened; returns whether that is not too fast."""
        opens = self._opens_known if connection.known else self._opens
        return opens.take(connection.group, 1, int(trio.current_time() * 1_000_000))

    def may_go_on(self, connection: YamuxConnection, frames: int) -> bool:
        """Count frames that were read; returns whether more may be read at once."""
        return self.frames.take(connection.group, frames, int(trio.current_time() * 1_000_000))

    def open(self, connection: YamuxConnection) -> bool:
        """Count a stream that a peer opens; returns whether there may be one more that is silent.

        When there are too many in all, the connection with the most loses one, unless that is the one that asks.
        """
        if self._silent >= self.limits.silent_streams_max:
            most = max(self.connections, key=lambda one: one.silent_streams)
            if most.silent_streams <= connection.silent_streams:
                return False
            self.refuse(MuxerFault.STREAMS, most.peer)
            most.lose_silent_stream()
        self._silent += 1
        return True

    def spoken(self) -> None:
        """Count one silent stream less: it is over, or something was said on it."""
        self._silent -= 1

    def hold(self, stream: YamuxStream, size: int) -> bool:
        """Count unread bytes; whoever was not read for the longest time makes room.

        Returns whether the stream may have them; if not, it has been reset.
        """
        limits, connection = self.limits, stream.muxed_conn
        while connection.held_bytes + size > limits.unread_bytes_per_connection_max:
            if not self._give_up(connection.streams(), stream):
                return False
        while self._held_bytes + size > limits.unread_bytes_max:
            if not self._give_up([one for each in self.connections for one in each.streams()], stream):
                return False
        self._held_bytes += size
        return True

    def release(self, size: int) -> None:
        """Count bytes that were read, or given up."""
        self._held_bytes -= size

    def _give_up(self, streams: list[YamuxStream], wanting: YamuxStream) -> bool:
        """Reset the stale ones, or else the stalest, those of strangers first; returns whether `wanting` is left."""
        now_s = trio.current_time()
        held = sorted((one for one in streams if one.held_bytes), key=lambda one: one.unread_s)
        strange = [one for one in held if not one.muxed_conn.known]
        old = [one for one in held if now_s - one.unread_s > _STALE_S]
        old_strange = [one for one in old if not one.muxed_conn.known]
        victims = old_strange or old or strange[:1] or held[:1] or [wanting]
        for stream in victims:
            self.refuse(MuxerFault.UNREAD, stream.muxed_conn.peer)
            stream.muxed_conn.reset(stream)
        return wanting not in victims
