"""Makes nodes of either kind for the contract tests: real libp2p hosts on loopback, or nodes of a `MemoryNetwork`."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import trio

from swarmharness.identity import Identity
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings

# `Any`, because the contract tests use both implementations' additions (refusals, set_access) besides the port.
Node = Any


def identity(name: str) -> Identity:
    """Return the same key for the same name."""
    return Identity(hashlib.sha256(name.encode()).digest())


def address_of(node: Node) -> PeerAddress:
    """Return where a node can be dialled."""
    return PeerAddress(node.peer_id, node.addresses)


class World:
    """Starts nodes, and stops them at the end, the latest first.

    Each lives in a task of its own, because a test and the fixture that made its world run in different tasks.
    """

    def __init__(self, nursery: trio.Nursery, make: Callable[[str, NetworkSettings], Any], make_dht: Any) -> None:
        self._nursery = nursery
        self._make = make
        self._make_dht = make_dht
        self._stops: list[tuple[trio.Event, trio.Event]] = []

    async def node(self, name: str, settings: NetworkSettings | None = None) -> Node:
        """Start a node."""
        return await self._start(self._make(name, settings or NetworkSettings()))

    async def dht(self, node: Node) -> Any:
        """Start the DHT of a node."""
        return await self._start(self._make_dht(node))

    async def stop(self) -> None:
        """Stop everything."""
        while self._stops:
            stop, stopped = self._stops.pop()
            stop.set()
            await stopped.wait()

    async def _start(self, thing: AbstractAsyncContextManager[Any]) -> Any:
        stop, stopped = trio.Event(), trio.Event()

        async def live(*, task_status: trio.TaskStatus[Any]) -> None:
            async with thing as entered:
                self._stops.append((stop, stopped))
                task_status.started(entered)
                await stop.wait()
            stopped.set()

        return await self._nursery.start(live)


@asynccontextmanager
async def libp2p_world() -> AsyncIterator[World]:
    """Real hosts on 127.0.0.1."""
    async with trio.open_nursery() as nursery:
        world = World(nursery, lambda name, settings: Libp2pTransport(settings, identity(name)), Libp2pDht)
        yield world
        await world.stop()


@asynccontextmanager
async def memory_world() -> AsyncIterator[World]:
    """Nodes of one MemoryNetwork."""
    async with MemoryNetwork() as network, trio.open_nursery() as nursery:
        world = World(nursery, lambda name, settings: network.node(identity(name).peer_id, settings), MemoryDht)
        yield world
        await world.stop()


WORLDS = {"libp2p": libp2p_world, "memory": memory_world}
