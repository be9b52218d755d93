"""What a peer does to the muxer of a real node, in small: streams, bytes, pings and windows in mass."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio

from swarmharness.network.limits import Limits
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from tests.hostile.raw_peer import DATA, PING, SYN, WINDOW, RawPeer, address_of, frame
from tests.integration.network.worlds import libp2p_world

WINDOW_BYTES = 256 * 1024


@asynccontextmanager
async def attacked(listen: str = "/ip4/127.0.0.1/tcp/0", **limits: Any) -> AsyncIterator[Any]:
    """A node; at the end it has no connection left, and an honest newcomer meets it."""
    with trio.fail_after(60):
        async with libp2p_world() as world:
            node = await world.node("node", NetworkSettings(listen=(listen,), limits=Limits(loopback=True, **limits)))
            yield node
            while node.connections()["idle"]:
                await trio.sleep(0.05)
            friend = await world.node("friend")
            friend.add_addresses(PeerAddress(node.peer_id, node.addresses))
            await friend.connect(node.peer_id, timeout_s=10)


async def send_without_end(peer: RawPeer, data: bytes) -> None:
    """Send until the node has closed the connection."""
    with suppress(OSError, ConnectionError, trio.BrokenResourceError):
        while True:
            await peer.write(data)


async def test_streams_in_mass_of_a_connection_that_is_cut_are_worked_on_no_longer() -> None:
    async with attacked(stream_opens_per_s=1) as node:
        for number in range(5):
            async with await RawPeer.meet(address_of(node.addresses), source=f"127.1.{number}.1") as peer:
                await peer.write(b"".join(frame(DATA, SYN, 1 + 2 * one, b"x") for one in range(5_000)))
        assert node.refusals().get("muxer: stream opens", 0) <= 5 * 20  # of 25,000


async def test_more_bytes_than_were_granted_end_the_connection() -> None:
    async with attacked() as node, await RawPeer.meet(address_of(node.addresses), source="127.1.0.1") as peer:
        number = await peer.open_stream("/swarmharness/channel/1")
        await send_without_end(peer, frame(DATA, 0, number, bytes(60_000)))
        assert node.refusals()["muxer: window"] == 1


async def test_pings_in_mass_end_the_connection() -> None:
    async with attacked() as node, await RawPeer.meet(address_of(node.addresses), source="127.1.0.1") as peer:
        await send_without_end(peer, frame(PING, SYN, 0, length=7) * 1_000)
        assert node.refusals()["muxer: pings"] == 1


async def test_windows_in_mass_are_read_at_a_rate() -> None:
    async with attacked(muxer_frames_per_s=1_000) as node:
        async with await RawPeer.meet(address_of(node.addresses), source="127.1.0.1") as peer:
            number = await peer.open_stream("/swarmharness/channel/1")
            with trio.move_on_after(1):
                while True:
                    await peer.write(frame(WINDOW, 0, number, length=1) * 5_000)
        assert node.refusals()["muxer: frames"] >= 1
