"""Whose bytes are given up when too many wait in a node that nobody reads."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing
from libp2p.peer.id import ID
from libp2p.stream_muxer.exceptions import MuxedStreamReset

from swarmharness.network.libp2p_yamux import YamuxConnection
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.yamux_frames import DATA, SYN
from tests.unit.network.yamux_ends import LIMITS, End, Frames, Secured


@pytest.mark.parametrize("pause_s", [0.0, 5.0], ids=["fresh", "stale"])
async def test_a_stranger_cannot_make_a_known_peer_lose_what_it_sent(
    pause_s: float, autojump_clock: trio.testing.MockClock
) -> None:
    end = End(replace(LIMITS, unread_bytes_max=500_000))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.turns.run)

        async def fill(name: bytes, *, known: bool) -> YamuxStream:
            mine, theirs = trio.testing.memory_stream_pair()
            secured = Secured(mine, is_initiator=False)
            connection = YamuxConnection(secured, ID(name), end.node, known=known)
            nursery.start_soon(connection.start)
            await Frames(theirs).send(DATA, SYN, 1, body=bytes(200_000))
            return await connection.accept_stream()

        friend = await fill(b"friend", known=True)
        await trio.sleep(0.1)
        strangers = [await fill(b"one", known=False)]
        await trio.sleep(pause_s)
        strangers.append(await fill(b"two", known=False))
        await trio.testing.wait_all_tasks_blocked()
        assert await friend.receive(1) == b"\x00"
        with pytest.raises(MuxedStreamReset):
            await strangers[0].receive(1)
        nursery.cancel_scope.cancel()
    assert end.node.held_bytes == 0
