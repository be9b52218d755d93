"""Reads one Yamux connection in turns with all others, and lets a peer wait that is too fast; it judges no frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import trio
from libp2p.io.exceptions import IOException

from swarmharness.errors import ProtocolError
from swarmharness.network.yamux_frames import FrameReader, Header
from swarmharness.network.yamux_intake import MuxerEndError, YamuxIntake
from swarmharness.network.yamux_node import MuxerFault, YamuxNode

if TYPE_CHECKING:
    from swarmharness.network.libp2p_yamux import YamuxConnection

_LOG = logging.getLogger(__name__)
BROKEN = (IOException, OSError, trio.BrokenResourceError, trio.ClosedResourceError)
"""What a connection that is gone looks like."""
_READ_BYTES = 65_536
_LOOK_FRAMES = 32
"""Frames between two looks at the clock."""
LOOKS_PER_S = 1000
"""How often all connections together that were too fast look whether they may go on: hundreds may wait at a time."""


class YamuxReading:
    """The reading side of a connection; `run` once."""

    def __init__(self, connection: YamuxConnection, intake: YamuxIntake, node: YamuxNode) -> None:
        self._connection = connection
        self._intake = intake
        self._node = node
        self._turn = _Turn(node, connection)

    async def run(self) -> MuxerFault | None:
        """Take what comes until the connection ends; returns the fault for which it has to."""
        secured = self._connection.secured_conn
        read = getattr(secured, "read_message", None) or partial(secured.read, _READ_BYTES)
        frames = FrameReader()
        try:
            while not self._connection.ended and (data := await read()):
                await self._turn.begin()
                count = await self._take_all(frames.read(data))
                if not self._node.may_go_on(self._connection, count):
                    self._node.refuse(MuxerFault.FRAMES, self._connection.peer)
                    pause_s = count / self._node.frames.per_s
                    await self._wait_until(partial(self._node.may_go_on, frames=count), pause_s)
        except MuxerEndError as end:
            return end.fault
        except ProtocolError:
            return MuxerFault.FRAME
        except BROKEN as error:
            _LOG.debug("a connection ended: %r", error)
        return None

    async def _take_all(self, events: Iterator[Header | bytes]) -> int:
        """Take what was read, unless the connection ends meanwhile; returns how many headers and pieces it was."""
        connection, intake, turn = self._connection, self._intake, self._turn
        count = 0
        now_s = connection.heard_s = trio.current_time()
        for event in events:
            if connection.ended:  # while this waited: whatever is opened now, nobody would close
                break
            intake.take(event, now_s)
            count += 1
            if intake.too_fast:
                intake.too_fast = False
                await self._wait_until(self._node.may_open, self._node.open_pause_s)
            elif connection.handed_up:
                turn.pay(connection.handed_up)
                connection.handed_up = 0
                await turn.go_on()
            elif count % _LOOK_FRAMES:
                continue
            else:
                await turn.go_on()
            now_s = trio.current_time()
        turn.pause()
        return count

    async def _wait_until(self, may: Callable[[YamuxConnection], bool], pause_s: float) -> None:
        """Wait for room in a rate; raises MuxerEndError when either side has closed, which nobody would read."""
        node, link = self._node, getattr(self._connection.secured_conn, "link", None)
        node.waiting += 1
        try:
            while not may(self._connection):
                await trio.sleep(max(pause_s, node.waiting / LOOKS_PER_S))
                if self._connection.ended or (link is not None and link.hung_up()):
                    raise MuxerEndError(None)
        finally:
            node.waiting -= 1


class _Turn:
    """The processor time that a reader was granted."""

    def __init__(self, node: YamuxNode, connection: YamuxConnection) -> None:
        self._turns = node.turns
        self._group, self._known = connection.group, connection.known
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
