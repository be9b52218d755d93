"""Runs several nodes of real services on in-memory ports in one trio program; nothing leaves the process."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import trio

from swarmharness.credit.store import MemoryReceiptStore
from swarmharness.execution.memory import MemoryExecutor, MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.identity import Identity, PeerId
from swarmharness.jobs.service import ItemResult
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.registry.stores import MemoryPeerStore, MemorySequenceStore

EPOCH_START_US = 1_800_000_000 * 1_000_000
ECHO = MemorySkill("echo", lambda item: ItemOutput(item))


class TrioClock:
    """Trio's time, virtual under a `MockClock`; Unix time begins at a fixed instant."""

    def __init__(self) -> None:
        self._start_s = trio.current_time()

    def unix_us(self) -> int:
        """See `Clock`."""
        return EPOCH_START_US + self.monotonic_us()

    def monotonic_us(self) -> int:
        """See `Clock`."""
        return round((trio.current_time() - self._start_s) * 1e6)


class SeededRandomness:
    """Numbers that depend on the seed alone."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation must repeat itself

    def token(self, size_bytes: int) -> bytes:
        """See `Randomness`."""
        return self._random.randbytes(size_bytes)

    def below(self, limit: int) -> int:
        """See `Randomness`."""
        return self._random.randrange(limit)


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
    skills: Sequence[MemorySkill] = (ECHO,),
    serving: int | None = None,
    seed: int = 0,
    delay_s: float = 0.001,
    settings: NodeSettings | None = None,
) -> AsyncIterator[list[MemoryNode]]:
    """Run `count` nodes that joined the first one; the last `serving` of them (all by default) serve the skills."""
    serving = count if serving is None else serving
    settings = settings or NodeSettings()
    async with AsyncExitStack() as stack:
        network = await stack.enter_async_context(MemoryNetwork(delay_s=delay_s))
        nodes: list[MemoryNode] = []
        for number in range(count):
            offered = tuple(skills) if number >= count - serving else ()
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
            clock=TrioClock(),
            randomness=SeededRandomness(seed),
            transport=transport,
            dht=dht,
            executor=MemoryExecutor(skills),
            receipts=MemoryReceiptStore(),
            peers=MemoryPeerStore(),
            sequence=MemorySequenceStore(),
        )
        async with run_services(ports, settings) as parts:
            yield MemoryNode(identity.peer_id, parts, network)
