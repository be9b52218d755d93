"""What every `Broadcast` does: the same tests over GossipSub on loopback and over the in-memory network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise

import pytest
import trio

from swarmharness.errors import InputError
from swarmharness.identity import PeerId
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_broadcast import MemoryBroadcast
from swarmharness.network.ports import BROADCAST_BYTES_MAX, Broadcast, PeerAddress, Transport
from swarmharness.network.settings import NetworkSettings
from tests.unit.credit.builders import identity

TOPIC = "/swarmharness/test/1"


class Listener:
    """One node: what it heard, from whom, and whether it thinks anything of it."""

    def __init__(self, transport: Transport, broadcast: Broadcast, *, believes: bool = True) -> None:
        self.transport, self.broadcast, self.believes = transport, broadcast, believes
        self.heard: list[tuple[PeerId, bytes]] = []
        broadcast.subscribe(TOPIC, self.hear)

    async def hear(self, sender: PeerId, data: bytes) -> bool:
        self.heard.append((sender, data))
        return self.believes

    async def until_heard(self, count: int) -> None:
        with trio.fail_after(20):
            while len(self.heard) < count:
                await trio.sleep(0.02)


@asynccontextmanager
async def chain_of(kind: str, *believes: bool) -> AsyncIterator[list[Listener]]:
    """Nodes in a row, each connected to the next one only."""
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(MemoryNetwork())
        nodes: list[Listener] = []
        for number, believing in enumerate(believes, start=1):
            if kind == "memory":
                memory = await stack.enter_async_context(network.node(identity(number).peer_id))
                flood = await stack.enter_async_context(MemoryBroadcast(memory))
                nodes.append(Listener(memory, flood, believes=believing))
            else:
                libp2p = await stack.enter_async_context(Libp2pTransport(NetworkSettings(), identity(number)))
                gossip = await stack.enter_async_context(Libp2pBroadcast(libp2p))
                nodes.append(Listener(libp2p, gossip, believes=believing))
        for left, right in pairwise(nodes):
            left.transport.add_addresses(PeerAddress(right.transport.peer_id, right.transport.addresses))
            await left.transport.connect(right.transport.peer_id, timeout_s=10)
        yield nodes


async def publish_until_heard(author: Listener, hearer: Listener, data: bytes) -> None:
    """A mesh takes a moment to form; until then a message reaches nobody."""
    with trio.fail_after(20):
        number = 0
        while not hearer.heard:
            await author.broadcast.publish(TOPIC, data + b" %d" % number)
            number += 1
            await trio.sleep(0.3)


@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_a_message_is_passed_on_and_heard_once(kind: str) -> None:
    async with chain_of(kind, True, True, True) as (one, two, three):
        await publish_until_heard(one, three, b"hello")
        await one.broadcast.publish(TOPIC, b"again")
        await one.broadcast.publish(TOPIC, b"again")
        await three.broadcast.publish(TOPIC, b"the end")
        with trio.fail_after(20):
            while not {b"again", b"the end"} <= {data for _, data in two.heard}:
                await trio.sleep(0.02)
            while b"again" not in {data for _, data in three.heard}:
                await trio.sleep(0.02)
        assert [data for _, data in two.heard].count(b"again") == 1
        assert [data for _, data in three.heard].count(b"again") == 1
        assert {sender for sender, _ in three.heard} == {two.transport.peer_id}
        assert b"again" not in {data for _, data in one.heard}


@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_what_a_node_does_not_believe_goes_no_further(kind: str) -> None:
    async with chain_of(kind, True, False, True) as (one, two, three):
        await publish_until_heard(one, two, b"a lie")
        two.believes = True
        await publish_until_heard(one, three, b"the truth")
        assert all(data.startswith(b"the truth") for _, data in three.heard)


@pytest.mark.parametrize("kind", ["memory", "libp2p"])
async def test_a_message_above_the_limit_is_not_sent(kind: str) -> None:
    async with chain_of(kind, True) as (one,):
        with pytest.raises(InputError, match="exceeds the maximum"):
            await one.broadcast.publish(TOPIC, bytes(BROADCAST_BYTES_MAX + 1))
