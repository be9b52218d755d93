from __future__ import annotations

import math

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swarmharness.identity import PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import K, MemoryDht, _place
from swarmharness.network.memory_transport import MemoryTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from tests.unit.network.ends import up


async def swarm(
    network: MemoryNetwork, nursery: trio.Nursery, count: int, ttl_s: float = 3600
) -> list[tuple[MemoryTransport, MemoryDht]]:
    made: list[tuple[MemoryTransport, MemoryDht]] = []
    for number in range(count):
        node = await up(nursery, network.node(PeerId(f"node-{number}")))
        dht = await MemoryDht(node, provider_ttl_s=ttl_s).__aenter__()
        if made:
            await dht.add_peer(PeerAddress(made[0][0].peer_id, made[0][0].addresses))
        made.append((node, dht))
    return made


async def test_a_look_up_takes_logarithmically_many_hops(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        nodes = await swarm(network, nursery, 300)
        key = b"\x07" * 32
        await nodes[17][1].provide(key)
        found = await nodes[250][1].find_providers(key, limit=5)
        assert [peer.peer_id for peer in found] == ["node-17"]
        lookup = nodes[250][1].lookups[-1]
        assert 0 < lookup.hops <= 4 * math.ceil(math.log2(300))
        assert lookup.queried < 100


async def test_records_expire(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        nodes = await swarm(network, nursery, 30, ttl_s=60)
        key = b"\x08" * 32
        await nodes[3][1].provide(key)
        await wait_all_tasks_blocked()
        autojump_clock.jump(59)
        assert len(await nodes[9][1].find_providers(key, limit=5)) == 1
        autojump_clock.jump(2)
        assert len(await nodes[9][1].find_providers(key, limit=5)) == 0


async def test_records_survive_the_death_of_most_holders(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        nodes = await swarm(network, nursery, 60)
        key = b"\x09" * 32
        await nodes[3][1].provide(key)
        await wait_all_tasks_blocked()
        holders = [node for node, dht in nodes if key in dht._records and node is not nodes[3][0]]
        assert len(holders) == K
        for node in holders[: K - 2]:
            network.kill(node.peer_id)
        seeker = next(dht for node, dht in nodes if node not in holders and node is not nodes[3][0])
        found = await seeker.find_providers(key, limit=5)
        assert [peer.peer_id for peer in found] == ["node-3"]
        assert seeker.lookups[-1].failed > 0


async def test_a_node_that_does_not_listen_is_in_no_table(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network:
        nodes = await swarm(network, nursery, 5)
        client = await up(nursery, network.node(PeerId("client"), NetworkSettings(listen=())))
        dht = await MemoryDht(client).__aenter__()
        await dht.add_peer(PeerAddress(nodes[0][0].peer_id, nodes[0][0].addresses))
        assert all("client" not in bucket for _, other in nodes for bucket in other._buckets.values())
        assert len(dht.lookups) == 1


async def test_a_node_names_those_of_all_that_it_knows_that_are_nearest(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async with MemoryNetwork() as network:
        nodes = await swarm(network, nursery, 120)
        for number in range(0, 120, 7):
            dht = nodes[number][1]
            known = [entry for bucket in dht._buckets.values() for entry in bucket.values()]
            for place in (_place(f"key-{number}"), _place(nodes[number][0].peer_id), _place(nodes[3][0].peer_id)):
                nearest = sorted((at ^ place, peer_id) for at, peer_id, _ in known)
                assert [(distance, contact[1]) for distance, contact in dht._nearest(place)] == nearest[:K]
