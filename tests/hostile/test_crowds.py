"""D1 and D7 of the hostile network in small: crowds that say who they are, that say nothing, and that fall asleep.

`scripts/bench hostile --only crowd` has it at full size; here the limits are so low that few peers suffice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from swarmharness.errors import PeerLostError
from swarmharness.identity import Identity, PeerId
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from swarmharness.node.control import open_control
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from tests.hostile.attacks_connection import introduce
from tests.hostile.raw_channel import HELLO, RawChannel
from tests.hostile.raw_peer import RawPeer, address_of, sources

pytestmark = [pytest.mark.processes]
CONFIG = 'version = 1\n\n[network]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n\n[execution]\nskills = []\n'
FRIEND = Identity(bytes([7] * 32))
LIMITS = f"""
[credit]
own_peers = ["{FRIEND.peer_id}"]

[limits]
connections_max = 24
connections_reserved = 8
connections_per_address_max = 8
connections_per_network_max = 12
half_open_max = 12
half_open_per_address_max = 4
half_open_per_network_max = 8
hello_timeout_s = 1
idle_timeout_s = 1
peers_remembered_max = 16
"""
HEARTBEAT_S = 0.5
STRANGERS_MAX = 24 - 8


@contextmanager
def node_with(folder: Path, more: str = "") -> Iterator[NodeProcess]:
    """A real node; it is alive at the end."""
    config = CONFIG.replace("[execution]", f"heartbeat_s = {HEARTBEAT_S}\n\n[execution]")
    with NodeGroup() as group:
        (node,) = group.start(NodeLaunch(folder / "node", config=config + LIMITS + more))
        yield node
        assert node.process.poll() is None


async def status_of(node: NodeProcess) -> dict[str, Any]:
    async with open_control(node.data_dir) as control:
        status: dict[str, Any] = await control.call("node.status", {})
        return status


async def dropped(node: NodeProcess) -> Counter[str]:
    connections = (await status_of(node))["connections"]
    return Counter({name.removeprefix("connection: "): count for name, count in connections["dropped"].items()})


@asynccontextmanager
async def friend_of(node: NodeProcess, identity: Identity = FRIEND) -> AsyncIterator[Libp2pTransport]:
    """An honest peer."""
    async with Libp2pTransport(NetworkSettings(listen=()), identity) as transport:
        transport.add_addresses(PeerAddress(PeerId(node.peer_id), node.addresses))
        yield transport


async def can_meet(node: NodeProcess, identity: Identity = FRIEND) -> None:
    async with friend_of(node, identity) as transport:
        await transport.connect(PeerId(node.peer_id), timeout_s=20)


async def say_hello(peer: RawPeer) -> int:
    """Open a channel as our own nodes do, and return its stream's number when the node has said hello too."""
    channel = await RawChannel.open(peer)
    kind, _, _ = await channel.next()
    assert kind == HELLO
    return channel.number


async def meets_and_leaves(node: NodeProcess, source: str) -> None:
    """Say who this is, hear who that is, and go."""
    async with await RawPeer.meet(address_of(node.addresses), source=source) as peer:
        number = await introduce(peer)
        assert b"/swarmharness/channel/1" in await peer.read_stream(number)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """One for all tests that look at what they caused only: it outlives them one after the other."""
    with node_with(tmp_path_factory.mktemp("node")) as running:
        yield running


async def test_a_node_outlives_more_peers_than_it_remembers(node: NodeProcess) -> None:
    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for source in sources(8):
                nursery.start_soon(meets_and_leaves, node, source)
    await can_meet(node)
    assert "libp2p stream" not in (await status_of(node))["refused_messages"]


async def test_who_says_nothing_is_dropped_and_keeps_nobody_out(node: NodeProcess) -> None:
    before = await dropped(node)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for source in sources(40, per_prefix=4):
            peer = await stack.enter_async_context(await RawPeer.meet(address_of(node.addresses), source=source))
            nursery.start_soon(peer.drain)  # ends when the node hangs up
        await can_meet(node)
    counts = await dropped(node) - before
    assert counts["no hello"] + counts["no place"] == 40


async def test_who_never_shakes_hands_is_dropped_and_keeps_nobody_out(node: NodeProcess) -> None:
    before = await dropped(node)
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for source in sources(40, per_prefix=4):
            peer = await stack.enter_async_context(await RawPeer.connect(address_of(node.addresses), source=source))
            nursery.start_soon(peer.drain)
        met = False
        while not met:  # those that have begun may finish for a while before a newcomer has their places
            with suppress(PeerLostError):
                await can_meet(node)
                met = True
    counts = await dropped(node) - before
    assert counts["half-open"] + counts["no handshake"] >= 40


async def test_strangers_with_channels_leave_the_reserved_places_to_known_peers(node: NodeProcess) -> None:
    before = await dropped(node)
    async with AsyncExitStack() as stack:
        for source in sources(STRANGERS_MAX, per_prefix=4):
            peer = await stack.enter_async_context(await RawPeer.meet(address_of(node.addresses), source=source))
            await say_hello(peer)
        with pytest.raises(PeerLostError):
            await can_meet(node, Identity(bytes([8] * 32)))
        await can_meet(node)
    assert (await dropped(node) - before)["no place"] >= 1


async def test_a_connection_whose_channel_is_lost_is_closed(node: NodeProcess) -> None:
    async with await RawPeer.meet(address_of(node.addresses)) as peer:
        await say_hello(peer)
        await peer.drain()  # it answers no heartbeat


async def test_a_connection_that_only_looks_up_is_closed_when_idle_and_that_is_no_offence(node: NodeProcess) -> None:
    before = await dropped(node)
    async with await RawPeer.meet(address_of(node.addresses)) as peer:
        await peer.open_stream("/ipfs/kad/1.0.0")
        await peer.drain()
    assert await dropped(node) == before


async def test_one_address_and_one_network_get_few_places_where_loopback_counts(tmp_path: Path) -> None:
    with node_with(tmp_path, "loopback = true\n") as node:
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
            for source in ["127.1.1.1"] * 10 + ["127.1.1.2"] * 10 + ["127.1.1.3"] * 10:
                peer = await stack.enter_async_context(await RawPeer.connect(address_of(node.addresses), source=source))
                nursery.start_soon(peer.drain)
            await can_meet(node)  # from 127.0.0.1
        counts = await dropped(node)
        assert counts["half-open of one address"] == 6 + 6
        assert counts["half-open of one network"] == 10
        assert counts["no handshake"] == 8
