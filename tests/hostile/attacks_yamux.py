"""Attacks on the muxer: streams, windows, pings and frames that are none."""

from __future__ import annotations

import os
from itertools import count

import trio

from tests.hostile.attack import on_connection
from tests.hostile.raw_peer import ACK, DATA, FIN, GO_AWAY, PING, RST, SYN, WINDOW, RawPeer, frame, line

_BULK = line("/multistream/1.0.0") + line("/swarmharness/bulk/1")
_CHUNK = bytes(65_000)
_BATCH = 1_000


@on_connection("syn-cut", "D3: 10,000 SYNs, then the connection is cut, again and again")
async def syn_cut(peer: RawPeer) -> None:
    for start in range(1, 20_001, 2 * _BATCH):
        await peer.write(b"".join(frame(DATA, SYN, number) for number in range(start, start + 2 * _BATCH, 2)))


@on_connection("silent-streams", "10,000 streams that say nothing and stay")
async def silent_streams(peer: RawPeer) -> None:
    await syn_cut(peer)
    await trio.sleep_forever()


@on_connection("full-streams", "1,500 streams of 254 KiB that nobody announced, and that stay")
async def full_streams(peer: RawPeer) -> None:
    for _ in range(1_500):
        number = await peer.open_stream("/swarmharness/bulk/1")
        for _ in range(4):
            await peer.send_frame(DATA, 0, number, _CHUNK)
    await trio.sleep_forever()


@on_connection("beyond-window", "D4: data beyond the window on one stream, without end")
async def beyond_window(peer: RawPeer) -> None:
    number = await peer.open_stream("/swarmharness/bulk/1")
    while True:
        await peer.send_frame(DATA, 0, number, _CHUNK)


@on_connection("ping-flood", "D6: Yamux PINGs without end")
async def ping_flood(peer: RawPeer) -> None:
    batch = b"".join(frame(PING, SYN, 0, length=number) for number in range(_BATCH))
    while True:
        await peer.write(batch)


@on_connection("ping-deaf", "Yamux PINGs without end, whose answers nobody reads", drained=False)
async def ping_deaf(peer: RawPeer) -> None:
    await ping_flood(peer)


@on_connection("rapid-reset", "streams that are opened with a request and reset at once, without end")
async def rapid_reset(peer: RawPeer) -> None:
    for start in count(1, 2 * _BATCH):
        batch = [
            frame(DATA, SYN, number, _BULK) + frame(DATA, RST, number)
            for number in range(start % 2**31, start % 2**31 + 2 * _BATCH, 2)
        ]
        await peer.write(b"".join(batch))


@on_connection("empty-frames", "DATA frames of no byte and of one, without end")
async def empty_frames(peer: RawPeer) -> None:
    number = await peer.open_stream("/swarmharness/bulk/1")
    batch = (frame(DATA, 0, number) + frame(DATA, 0, number, b"x")) * _BATCH
    while True:
        await peer.write(batch)


@on_connection("window-flood", "WINDOW updates of 0 and of 4 GiB, on streams that are open and that are not")
async def window_flood(peer: RawPeer) -> None:
    number = await peer.open_stream("/swarmharness/channel/1")
    batch = b"".join(
        frame(WINDOW, 0, stream, length=size)
        for size in (0, 1, 2**32 - 1)
        for stream in (number, number + 2 * _BATCH, number + 1, 0)
    )
    while True:
        await peer.write(batch * 200)


@on_connection("bad-frames", "frames that Yamux does not have, each on a new connection", pause_s=0)
async def bad_frames(peer: RawPeer) -> None:
    flags = SYN | ACK | FIN | RST
    for _ in range(50):
        await peer.send_frame(os.urandom(1)[0] % 6, os.urandom(1)[0] & flags, os.urandom(1)[0] % 8, length=2**31)
        await peer.write(os.urandom(24))
    await peer.send_frame(GO_AWAY, 0, 0, length=1)
    await trio.sleep(0.02)
