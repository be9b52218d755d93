"""Nodes of the real credit services on the in-memory network, in virtual time, for the tests of spreading."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import EPOCH_US, Receipt, body_digest, epoch_of
from swarmharness.credit.service import CreditService
from swarmharness.credit.spread.service import SpreadService
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.terms import settlement_body
from swarmharness.identity import Identity, PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_broadcast import MemoryBroadcast
from swarmharness.network.ports import PeerAddress, Transport
from tests.unit.credit.builders import NOON_US, identity, terms


class VirtualClock:
    """Trio's time, which `autojump_clock` moves; Unix time begins at an hour."""

    def unix_us(self) -> int:
        return NOON_US + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(trio.current_time() * 1e6)


class Chance:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)


@dataclass(slots=True)
class Node:
    who: Identity
    store: MemoryReceiptStore
    transport: Transport
    credit: CreditService
    spread: SpreadService
    stop: trio.Event
    stopped: trio.Event

    @property
    def peer_id(self) -> PeerId:
        return self.who.peer_id

    async def digests(self) -> frozenset[bytes]:
        return frozenset(claim.digest for claim in await self.store.claims(oldest_epoch=0))

    async def down(self) -> None:
        self.stop.set()
        await self.stopped.wait()


class Swarm:
    """Starts nodes and lets them work for each other."""

    def __init__(self, network: MemoryNetwork, nursery: trio.Nursery) -> None:
        self.network, self._nursery = network, nursery
        self.clock = VirtualClock()
        self.nodes: list[Node] = []
        self._numbers = iter(range(1, 10**9))

    async def start(
        self, number: int, *, store: MemoryReceiptStore | None = None, settings: SpreadSettings | None = None
    ) -> Node:
        """Start the node with this number, which knows where all others are."""
        node: Node = await self._nursery.start(self._run, number, store or MemoryReceiptStore(), settings)
        for other in self.nodes:
            node.transport.add_addresses(PeerAddress(other.peer_id, other.transport.addresses))
            other.transport.add_addresses(PeerAddress(node.peer_id, node.transport.addresses))
        self.nodes = [other for other in self.nodes if other.peer_id != node.peer_id] + [node]
        return node

    async def connect_all(self) -> None:
        for index, node in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                await node.transport.connect(other.peer_id, timeout_s=5)

    async def work(self, worker: Node, requester: Node) -> Receipt:
        """Let one node work for another, and both sign."""
        task = terms(next(self._numbers), requester.who, worker.who, epoch=epoch_of(self.clock.unix_us()))
        worker.credit.expect(task)
        return await requester.credit.settle(settlement_body([task]))

    async def _run(
        self,
        number: int,
        store: MemoryReceiptStore,
        settings: SpreadSettings | None,
        *,
        task_status: trio.TaskStatus[Node],
    ) -> None:
        who, stop, stopped = identity(number), trio.Event(), trio.Event()
        async with self.network.node(who.peer_id) as transport, MemoryBroadcast(transport) as broadcast:
            credit = CreditService(store, who, transport, self.clock, Chance(number))
            spread = SpreadService(store, transport, broadcast, self.clock, Chance(-number), settings=settings)
            credit.watch_own(spread.add_own, spread.found_fork)
            spread.watch_receipts(credit.received)
            credit.watch_uncovered(spread.be_shown, spread.be_shown_later)
            async with trio.open_nursery() as nursery:
                await nursery.start(credit.run)
                await nursery.start(spread.run)
                task_status.started(Node(who, store, transport, credit, spread, stop, stopped))
                await stop.wait()
                nursery.cancel_scope.cancel()
        stopped.set()


@asynccontextmanager
async def open_swarm(count: int, *, settings: SpreadSettings | None = None) -> AsyncIterator[Swarm]:
    """Run nodes 1 to `count`, all connected."""
    async with MemoryNetwork(delay_s=0.005) as network, trio.open_nursery() as nursery:
        swarm = Swarm(network, nursery)
        for number in range(1, count + 1):
            await swarm.start(number, settings=settings)
        await swarm.connect_all()
        yield swarm
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], Awaitable[bool]], *, deadline_s: float = 3_600) -> None:
    """Wait for a condition, in virtual time."""
    with trio.fail_after(deadline_s):
        while not await condition():
            await trio.sleep(0.5)


def entry_of(receipt: Receipt) -> Entry:
    return Entry(receipt.body, receipt.requester_half, receipt.worker_half, NOON_US)


def name_of(receipt: Receipt) -> bytes:
    return body_digest(receipt.body)


HOUR_S = EPOCH_US / 1e6
