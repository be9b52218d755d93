"""Runs several nodes of real services on in-memory ports in one trio program; nothing leaves the process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.execution.memory import MemoryExecutor, MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.identity import Identity, PeerId
from swarmharness.jobs.digesting import Digests, at_once
from swarmharness.jobs.service import ItemResult
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.registry.stores import MemoryPeerStore, MemorySequenceStore
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.virtual_time import NodeClock

ECHO = MemorySkill("echo", lambda item: ItemOutput(item))


@dataclass(frozen=True, slots=True)
class MemoryNode:
    """One node of a `memory_swarm`."""

    peer_id: PeerId
    parts: NodeParts
    network: MemoryNetwork

    async def map(self, skill: str, items: Sequence[bytes]) -> list[ItemResult]:
        """Submit a job from this node and return its results in input order."""
        async with self.parts.jobs.open(skill) as job:
            await job.feed(items, last=True)
            return [result async for result in job.results()]

    def kill(self) -> None:
        """Cut this node off from one instant to the next."""
        self.network.kill(self.peer_id)


@asynccontextmanager
async def memory_swarm(
    count: int,
    *,
    skills: Sequence[MemorySkill] | Callable[[int], Sequence[MemorySkill]] = (ECHO,),
    serving: int | None = None,
    seed: int = 0,
    delay_s: float = 0.001,
    settings: NodeSettings | None = None,
) -> AsyncIterator[list[MemoryNode]]:
    """Run `count` nodes that joined the first one; the last `serving` of them (all by default) serve the skills.

    `skills` as a function gives those of each node by its number, for nodes that cheat.
    """
    serving = count if serving is None else serving
    settings = settings or NodeSettings()
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(MemoryNetwork(delay_s=delay_s))
        nodes: list[MemoryNode] = []
        for number in range(count):
            own_skills = skills(number) if callable(skills) else skills
            offered = tuple(own_skills) if number >= count - serving else ()
            node = await stack.enter_async_context(_node(network, f"{seed}/{number}", offered, settings))
            if nodes:
                first = nodes[0].parts.ports.transport
                await node.parts.registry.join_peers([PeerAddress(first.peer_id, first.addresses)])
            nodes.append(node)
        yield nodes


@asynccontextmanager
async def _node(
    network: MemoryNetwork, seed: str, skills: tuple[MemorySkill, ...], settings: NodeSettings
) -> AsyncIterator[MemoryNode]:
    identity = Identity(hashlib.sha256(seed.encode()).digest())
    async with network.node(identity.peer_id) as transport, MemoryDht(transport) as dht:
        ports = NodePorts(
            signer=identity,
            clock=NodeClock(),
            randomness=SeededRandomness(seed),
            transport=transport,
            dht=dht,
            executor=MemoryExecutor(skills),
            receipts=MemoryReceiptStore(),
            peers=MemoryPeerStore(),
            sequence=MemorySequenceStore(),
            refusals=transport.refused,
            digests=Digests(at_once),
        )
        async with run_services(ports, settings) as parts:
            yield MemoryNode(identity.peer_id, parts, network)
