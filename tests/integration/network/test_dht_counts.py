"""The twin of the DHT asks as often as the real one, and in as many rounds, when both are given the same nodes."""

from __future__ import annotations

import trio

from swarmharness.network.settings import NetworkSettings
from tests.integration.network.worlds import World, address_of, libp2p_world, memory_world

NODES = 13
KEY = b"\x07" * 32
LISTENING = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",))


async def counts(world: World) -> list[tuple[int, int]]:
    """Return rounds and queries of a newcomer's look-up for itself, and of its search for providers.

    All nodes know each other, as in a swarm whose registries have exchanged adverts; the newcomer knows one.
    """
    nodes = [await world.node(f"node {number}", LISTENING) for number in range(NODES)]
    dhts = [await world.dht(node) for node in nodes]
    for dht in dhts:
        for node in nodes:
            if node is not nodes[dhts.index(dht)]:
                await dht.add_peer(address_of(node))
    newcomer = await world.dht(await world.node("newcomer", NetworkSettings(listen=())))
    await newcomer.add_peer(address_of(nodes[0]))
    with trio.fail_after(60):
        while not any(lookup.queried for lookup in newcomer.lookups):
            await trio.sleep(0.01)
    await newcomer.find_providers(KEY, limit=4)
    return [(lookup.hops, lookup.queried) for lookup in newcomer.lookups if lookup.queried]


async def test_the_twin_takes_as_many_rounds_and_queries_as_libp2p() -> None:
    async with memory_world() as world:
        twin = await counts(world)
    async with libp2p_world() as world:
        real = await counts(world)
    assert twin == real == [(2, 11), (1, 10)]
