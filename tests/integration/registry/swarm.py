"""Registry services on an in-memory network in virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import trio

from swarmharness.execution.ports import SkillInfo
from swarmharness.identity import PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.memory_transport import MemoryTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.refusals import Refusals
from swarmharness.registry.local_network import LanDiscovery
from swarmharness.registry.own_advert import OwnAdvert
from swarmharness.registry.service import RegistryService
from swarmharness.registry.settings import RegistrySettings
from swarmharness.registry.stores import MemoryPeerStore, MemorySequenceStore
from tests.unit.registry.samples import DEVICE, NOW_UNIX_S, identity

INFO = SkillInfo(
    name="text-embedding",
    version="1",
    kind="text-embedding",
    model_digest=b"\7" * 32,
    comparison_class="fp32",
    batch_invariant=True,
    batch_items_max=32,
    work_microcredits=20_000,
    service_us=5_000,
    provider="",
)


class VirtualClock:
    """The clock of `trio.testing.MockClock`, in microseconds; `ahead_s` is this node's error."""

    def __init__(self, ahead_s: int = 0) -> None:
        self.ahead_s = ahead_s

    def unix_us(self) -> int:
        return (NOW_UNIX_S + self.ahead_s) * 1_000_000 + self.monotonic_us()

    def monotonic_us(self) -> int:
        return round(trio.current_time() * 1e6)


class NoDht:
    """A DHT that knows nobody, for tests of what happens without one."""

    async def add_peer(self, peer: PeerAddress) -> None:
        return

    async def provide(self, key: bytes) -> None:
        return

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        return ()


class SeededRandomness:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def token(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)

    def below(self, limit: int) -> int:
        return self._random.randrange(limit)


@dataclass
class Member:
    """One node's registry, with what the test may change of it."""

    number: int
    skills: list[str] = field(default_factory=list)
    sequences: MemorySequenceStore = field(default_factory=MemorySequenceStore)
    peers: MemoryPeerStore = field(default_factory=MemoryPeerStore)
    settings: RegistrySettings = field(default_factory=RegistrySettings)
    ahead_s: int = 0
    in_dht: bool = True
    queued: int = 0
    price: int = 20_000
    not_serving: str = ""
    lan: LanDiscovery | None = None
    clock: VirtualClock = field(init=False)
    refusals: Refusals = field(init=False)
    transport: MemoryTransport = field(init=False)
    registry: RegistryService = field(init=False)

    @property
    def peer_id(self) -> PeerId:
        return identity(self.number).peer_id

    @property
    def address(self) -> PeerAddress:
        started = hasattr(self, "transport")
        return PeerAddress(self.peer_id, self.transport.addresses if started else (f"/memory/{self.peer_id}",))

    async def names(self, skill: str = "text-embedding") -> list[str]:
        return [advert.peer_id for advert in await self.registry.candidates(skill)]

    def usable(self) -> set[str]:
        return {known.advert.peer_id for known in self.registry.known() if known.usable}

    @asynccontextmanager
    async def up(self, network: MemoryNetwork, *join: Member) -> AsyncIterator[Member]:
        clock = self.clock = VirtualClock(self.ahead_s)
        self.refusals = Refusals(clock.monotonic_us)
        async with network.node(self.peer_id) as self.transport, MemoryDht(self.transport) as dht:
            own = OwnAdvert(
                identity(self.number),
                clock,
                self.sequences,
                addresses=lambda: self.transport.addresses,
                device=DEVICE,
                skills=lambda: tuple(replace(INFO, name=name) for name in self.skills),
                queued_items=lambda _: self.queued,
                price_of=lambda _: self.price,
                lifetime_s=self.settings.lifetime_s,
                not_serving=lambda: self.not_serving,
            )
            self.registry = RegistryService(
                self.transport,
                dht if self.in_dht else NoDht(),
                own,
                clock,
                SeededRandomness(self.number),
                peers=self.peers,
                settings=self.settings,
                refusals=self.refusals,
                lan=self.lan,
            )
            async with trio.open_nursery() as nursery:
                await nursery.start(self.registry.run)
                await self.registry.join_peers([other.address for other in join])
                yield self
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def members(
    network: MemoryNetwork, skills: Sequence[Sequence[str]], *, first: int = 1
) -> AsyncIterator[list[Member]]:
    """Start a node for each list of skills; all join by the first."""
    stop = trio.Event()
    started: list[Member] = []

    async def live(member: Member, join: list[Member], *, task_status: trio.TaskStatus[None]) -> None:
        async with member.up(network, *join):
            task_status.started()
            await stop.wait()

    async with trio.open_nursery() as nursery:
        for number, names in enumerate(skills, first):
            member = Member(number, list(names))
            await nursery.start(live, member, started[:1])
            started.append(member)
        yield started
        stop.set()
