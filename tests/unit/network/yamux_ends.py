"""Two ends of a Yamux connection in memory, ours or libp2p's, and an end that writes whatever frames a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import trio
import trio.testing
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.peer.id import ID

from swarmharness.network.fair_turns import FairTurns
from swarmharness.network.libp2p_yamux import YamuxConnection
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.limits import Limits
from swarmharness.network.yamux_frames import FrameReader, Header, header
from swarmharness.network.yamux_node import MuxerFault, YamuxNode

LIMITS = Limits(muxer_frames_per_s=1_000_000, stream_opens_per_s=10_000)


class Secured:
    """As much of libp2p's `ISecureConn` as a muxer needs, over a stream in memory."""

    def __init__(self, stream: Any, *, is_initiator: bool) -> None:
        self.stream = stream
        self.is_initiator = is_initiator
        self.broken = False

    async def read(self, n: int | None = None) -> bytes:
        try:
            return bytes(await self.stream.receive_some(n))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("broken") from error

    async def write(self, data: bytes) -> None:
        if self.broken:
            raise ConnectionClosedError("broken")
        try:
            with trio.CancelScope(shield=True):  # as `Link` does: half a frame would be the end of all others
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionClosedError("broken") from error

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)

    def get_remote_address(self) -> None:
        return None

    def get_transport_addresses(self) -> list[Any]:
        return []


@dataclass
class End:
    """Our end, with what it shares with other connections of its node and what it has refused."""

    limits: Limits = LIMITS
    refused: list[tuple[MuxerFault, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.turns = FairTurns(0.001)
        self.node = YamuxNode(self.limits, self.turns, lambda fault, peer: self.refused.append((fault, peer)))

    @property
    def faults(self) -> list[MuxerFault]:
        return [fault for fault, _ in self.refused]

    def connection(self, stream: Any, *, is_initiator: bool, name: bytes = b"peer") -> YamuxConnection:
        return YamuxConnection(Secured(stream, is_initiator=is_initiator), ID(name), self.node)


class Frames:
    """An end that keeps no rule."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._reader = FrameReader()
        self._events: list[Header | bytes] = []

    async def send(self, kind: int, flags: int, number: int, length: int = 0, body: bytes = b"") -> None:
        await self.stream.send_all(header(kind, flags, number, len(body) or length) + body)

    async def next(self) -> Header | bytes:
        """Return the next header or piece of a body; raises EOFError at the end."""
        while not self._events:
            data = bytes(await self.stream.receive_some(65_536))
            if not data:
                raise EOFError
            self._events += self._reader.read(data)
        return self._events.pop(0)

    async def until(self, wanted: Callable[[Header | bytes], bool]) -> Header | bytes:
        while True:
            event = await self.next()
            if wanted(event):
                return event


@asynccontextmanager
async def attacked(**limits: Any) -> AsyncIterator[tuple[End, YamuxConnection, Frames]]:
    """Our end as the one that was dialled, and an end that keeps no rule."""
    end = End(replace(LIMITS, **limits))
    mine, theirs = trio.testing.memory_stream_pair()
    connection = end.connection(mine, is_initiator=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.turns.run)
        nursery.start_soon(connection.start)
        await connection.event_started.wait()
        yield end, connection, Frames(theirs)
        await connection.close()
        nursery.cancel_scope.cancel()
    assert end.node.held_bytes == end.node.silent_streams == 0


@asynccontextmanager
async def two(make_other: Callable[[Secured, ID], Any] | None = None) -> AsyncIterator[tuple[End, Any, Any]]:
    """Our end as the one that dials, and another, ours too unless another is made."""
    end = End()
    mine, theirs = trio.testing.memory_stream_pair()
    left = end.connection(mine, is_initiator=True)
    right: Any = end.connection(theirs, is_initiator=False)
    if make_other is not None:
        right = make_other(Secured(theirs, is_initiator=False), ID(b"other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.turns.run)
        for one in (left, right):
            nursery.start_soon(one.start)
            await one.event_started.wait()
        yield end, left, right
        await left.close()
        await right.close()
        nursery.cancel_scope.cancel()
    assert end.node.held_bytes == end.node.silent_streams == 0


async def received(stream: YamuxStream) -> bytes:
    """Return all that comes until the other side ends."""
    parts = []
    while part := await stream.receive(65_536):
        parts.append(part)
    return b"".join(parts)
