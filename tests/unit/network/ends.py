"""Two channels over a memory stream, or one channel against a hand-driven peer, for the tests of channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio.testing import memory_stream_pair

from swarmharness.identity import PeerId
from swarmharness.network.channel import Channel
from swarmharness.network.handlers import Handlers
from swarmharness.network.memory_transport import MemoryTransport
from swarmharness.network.ports import Handler, Request
from swarmharness.network.settings import ChannelSettings
from swarmharness.protocol import codec
from swarmharness.protocol.frame import Frame, FrameDecoder, FrameKind, encode_frame
from swarmharness.protocol.handshake import Hello

LEFT, RIGHT = PeerId("left"), PeerId("right")
QUIET = ChannelSettings(heartbeat_s=0, close_timeout_s=0.02)


async def echo(request: Request) -> bytes:
    return request.payload


async def hang(request: Request) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


async def up(nursery: trio.Nursery, node: MemoryTransport) -> MemoryTransport:
    """Have a node up until the nursery ends."""

    async def run(*, task_status: trio.TaskStatus[MemoryTransport]) -> None:
        async with node:
            task_status.started(node)
            await trio.sleep_forever()

    started: MemoryTransport = await nursery.start(run)
    return started


@asynccontextmanager
async def two_channels(
    handlers: Mapping[str, Handler],
    left: ChannelSettings = QUIET,
    right: ChannelSettings = QUIET,
    **more: Any,
) -> AsyncIterator[tuple[Channel, Channel]]:
    """Two channels that have shaken hands; the right one serves `handlers`."""
    left_stream, right_stream = memory_stream_pair()
    caller = Channel(left_stream, RIGHT, Handlers(), left, **more)
    server = Channel(right_stream, LEFT, Handlers(handlers), right)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.handshake)
        nursery.start_soon(server.handshake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.run)
        nursery.start_soon(server.run)
        yield caller, server
        nursery.cancel_scope.cancel()


class Peer:
    """The other end of a channel, driven by hand: what is sent and what came, frame by frame."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._decoder = FrameDecoder(1 << 20)
        self._frames: list[Frame] = []

    async def say(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def frame(self, kind: int, request_id: int = 0, body: bytes = b"") -> None:
        await self.say(encode_frame(kind, request_id, body))

    async def hello(self, window_bytes: int = 1 << 20) -> None:
        await self.frame(FrameKind.HELLO, 0, codec.encode(Hello((1,), "by hand", window_bytes)))

    async def hear(self) -> Frame:
        """Return the next frame, or a frame of kind 0 at the end of the stream."""
        while not self._frames:
            data = await self._stream.receive_some(65536)
            if not data:
                return Frame(0, 0, b"")
            self._frames += self._decoder.feed(bytes(data))
        return self._frames.pop(0)

    async def hear_end(self) -> list[Frame]:
        """Return all frames until the end of the stream."""
        frames = []
        while (frame := await self.hear()).kind:
            frames.append(frame)
        return frames


@asynccontextmanager
async def channel_and_peer(
    handlers: Mapping[str, Handler] | None = None, settings: ChannelSettings = QUIET, *, window_bytes: int = 1 << 20
) -> AsyncIterator[tuple[Channel, Peer, list[str]]]:
    """A channel that has shaken hands with a peer driven by hand, and the reasons for which it refused messages."""
    here, there = memory_stream_pair()
    refusals: list[str] = []
    channel = Channel(here, RIGHT, Handlers(handlers), settings, refuse=refusals.append)
    peer = Peer(there)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.handshake)
        await peer.hello(window_bytes)
        assert (await peer.hear()).kind == FrameKind.HELLO
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        yield channel, peer, refusals
        nursery.cancel_scope.cancel()
