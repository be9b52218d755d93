"""Connections whose peers were too fast: what it costs that they wait, and when they stop."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.network.libp2p_yamux_reading import LOOKS_PER_S
from swarmharness.network.yamux_frames import DATA, SYN, header
from swarmharness.network.yamux_node import YamuxNode
from tests.unit.network.yamux_ends import LIMITS, End, attacked

CONNECTIONS = 50
OPENS = b"".join(header(DATA, SYN, number) for number in range(1, 9, 2))


async def test_many_that_wait_look_no_more_often_than_one(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0

    def may_open(self: YamuxNode, connection: object) -> bool:
        nonlocal looks
        looks += 1
        return False

    monkeypatch.setattr(YamuxNode, "may_open", may_open)
    end = End(replace(LIMITS, stream_opens_per_s=100))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.turns.run)
        for number in range(CONNECTIONS):
            mine, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(end.connection(mine, is_initiator=False, name=bytes([number])).start)
            await theirs.send_all(OPENS)
        await trio.sleep(10)
        assert end.node.waiting == CONNECTIONS
        nursery.cancel_scope.cancel()
    assert CONNECTIONS < looks <= 1.1 * 10 * LOOKS_PER_S
    assert end.node.waiting == end.node.silent_streams == 0


async def test_a_connection_that_has_ended_waits_no_longer(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(YamuxNode, "may_open", lambda self, connection: False)
    async with attacked() as (end, connection, peer):
        await peer.stream.send_all(OPENS)
        with trio.fail_after(10):
            while not end.node.waiting:
                await trio.sleep(0.1)
        await connection.close()
        await trio.sleep(1)
        assert end.node.waiting == 0
