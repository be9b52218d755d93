"""Attacks on our own channel: messages that blow up, that stall, that come in mass, and that are none."""

from __future__ import annotations

import os
import random
from functools import cache
from itertools import count, cycle, repeat
from struct import pack

import trio

from tests.hostile.attack import on_channel, on_connection
from tests.hostile.raw_channel import (
    BULK_REQUEST,
    CANCEL,
    CHANNEL,
    CHANNEL_WINDOW,
    ERROR,
    HELLO,
    PING,
    PONG,
    REQUEST,
    RESPONSE,
    VERSION_1,
    RawChannel,
    channel_frame,
    request_body,
)
from tests.hostile.raw_peer import DATA, RawPeer

METHODS = (
    *("load.probe", "load.tell", "registry.advert", "registry.find", "registry.push", "task.run", "task.reveal"),
    *("task.settle", "credit.game", "credit.remember", "credit.redeem", "credit.gossip", "credit.open"),
    *("credit.chains", "credit.ranges", "credit.fetch", "credit.show"),
)
"""All that a node answers, and with them every class of messages."""
BOMBS = (b"\x90", b"\x80", b"\x91", b"\x81\xa0", b"\xc0", b"\xa0", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff")
"""Empty arrays and maps, nests of them, nothings, empty texts, and arrays and maps that announce four billion."""
INLINE_BYTES, BULK_BYTES, STALLED_BYTES = 250_000, 48 * 2**20, 200 * 2**20
_MIB = 2**20


@cache
def bomb(size: int, kind: int) -> bytes:
    """Return a message of `size` bytes whose first field is no end of small values; `kind` tells which."""
    filling = BOMBS[kind % len(BOMBS)]
    return bytes([0x92 + kind, 1]) + b"\xdd\x00\xff\xff\xff" + filling * (size // len(filling))


@on_channel("bombs", "D2: messages of 250 kB of empty arrays and the like, for every method")
async def bombs(channel: RawChannel) -> None:
    for turn, method in enumerate(cycle(METHODS)):
        await channel.request(method, bomb(INLINE_BYTES, turn % len(BOMBS)))


@on_channel("bulk-bombs", "D2: the same with 48 MiB, as bulk payloads that keep to the window")
async def bulk_bombs(channel: RawChannel) -> None:
    for turn, method in enumerate(cycle(METHODS)):
        first, more = bomb(_MIB, turn % len(BOMBS)), BOMBS[turn % len(BOMBS)] * 2**17
        rest = [more] * ((BULK_BYTES - len(first)) // len(more))
        await channel.bulk(method, [first, *rest], len(first) + len(more) * len(rest))


@on_channel("bulk-stall", "D5: bulk payloads of 200 MiB that lack their last MiB")
async def bulk_stall(channel: RawChannel) -> None:
    async with trio.open_nursery() as nursery:
        for method in ("task.run", "load.probe", "registry.push", "credit.gossip"):
            nursery.start_soon(channel.bulk, method, repeat(bytes(_MIB), STALLED_BYTES // _MIB - 1), STALLED_BYTES)
    await trio.sleep_forever()


@on_channel("bulk-announced", "bulk payloads that are announced by the thousand and never come")
async def bulk_announced(channel: RawChannel) -> None:
    while True:
        for _ in range(1_000):
            await channel.request("task.run", pack(">Q", STALLED_BYTES), kind=BULK_REQUEST)
        await trio.sleep(0.1)


@on_channel("malformed", "D9: well-formed frames with messages of random bytes, for every method")
async def malformed(channel: RawChannel) -> None:
    draw = random.Random(1)
    for method in cycle(METHODS):
        await channel.request(method, draw.randbytes(draw.randrange(200)))


@on_channel("malformed-frames", "frames that the channel does not have, each on a new connection", pause_s=0)
async def malformed_frames(channel: RawChannel) -> None:
    draw = random.Random()
    await channel.send(channel_frame(draw.randrange(16), draw.randrange(2**32), draw.randbytes(draw.randrange(40))))
    await channel.send(channel_frame(REQUEST, 1, length=draw.choice((0, 2**31, 2**32 - 6))))
    await trio.sleep(0.02)


@on_channel("requests", "good small requests without end")
async def requests(channel: RawChannel) -> None:
    await _flood(channel, [(REQUEST, request_body("registry.advert", VERSION_1))])


@on_channel("unknown-methods", "requests without end for methods that nobody has")
async def unknown_methods(channel: RawChannel) -> None:
    await _flood(channel, [(REQUEST, request_body(os.urandom(40).hex(), b"")) for _ in range(50)])


@on_channel("answers", "answers and errors without end that nobody asked for, and cancels of nothing")
async def answers(channel: RawChannel) -> None:
    await _flood(channel, [(RESPONSE, bytes(100)), (ERROR, b"\x01no"), (CANCEL, b""), (PONG, bytes(8))])


@on_channel("channel-pings", "heartbeats of the channel without end")
async def channel_pings(channel: RawChannel) -> None:
    await _flood(channel, [(PING, bytes(8))])


@on_channel("channel-windows", "WINDOW frames of the channel: 0, and more than was ever used")
async def channel_windows(channel: RawChannel) -> None:
    await _flood(channel, [(CHANNEL_WINDOW, pack(">I", size)) for size in (0, 1, 2**32 - 1)])


async def _flood(channel: RawChannel, kinds: list[tuple[int, bytes]]) -> None:
    for start in count(1, 500):
        frames = [channel_frame(*_numbered(kinds, number % 2**31)) for number in range(start, start + 500)]
        await channel.send(b"".join(frames))


def _numbered(kinds: list[tuple[int, bytes]], number: int) -> tuple[int, int, bytes]:
    kind, body = kinds[number % len(kinds)]
    return kind, 0 if kind in (CHANNEL_WINDOW, PING, PONG) else number, body


@on_channel("beyond-channel-window", "requests of 60 kB without end, whatever window the node gave")
async def beyond_channel_window(channel: RawChannel) -> None:
    body = request_body("task.run", bytes(60_000))
    for number in count(1):
        await channel.send(channel_frame(REQUEST, number, body))


@on_channel("slow-frames", "a frame of 250 kB, a byte a second")
async def slow_frames(channel: RawChannel) -> None:
    await channel.send(channel_frame(REQUEST, 1, b"", length=INLINE_BYTES))
    while True:
        await channel.send(b"x")
        await trio.sleep(1)


@on_connection("unread-answers", "requests without end, of whose answers nothing is read", drained=False)
async def unread_answers(peer: RawPeer) -> None:
    await _flood(await RawChannel.open(peer), [(REQUEST, request_body("registry.advert", VERSION_1))])


@on_connection("hellos", "HELLO again and again on stream after stream")
async def hellos(peer: RawPeer) -> None:
    while True:
        await RawChannel.open(peer)


@on_connection("bad-hellos", "streams of the channel that begin with what is no HELLO, or with half of one")
async def bad_hellos(peer: RawPeer) -> None:
    for turn in count():
        number = await peer.open_stream(CHANNEL)
        body = channel_frame(HELLO if turn % 2 else REQUEST, 0, os.urandom(30))
        await peer.send_frame(DATA, 0, number, body[: 20 if turn % 3 else len(body)])
