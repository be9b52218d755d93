"""One simulated node: what it is, its disk, and its sessions of real services; others decide when."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from swarmharness.credit.admission import Policy
from swarmharness.identity import PeerId
from swarmharness.jobs.digesting import Digests, at_once
from swarmharness.jobs.service import JobSettings
from swarmharness.jobs.verification.standings import MemoryReputationStore
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.registry.settings import RegistrySettings
from swarmharness.simulation.adversaries import RENEWED, Eclipse, behaviour_of, fork, known_members, withhold
from swarmharness.simulation.baselines import ROUTER_CLASSES
from swarmharness.simulation.disk import SimulatedDisk, SimulatedReceiptStore, SimulatedSequence, Write
from swarmharness.simulation.execution import ModelExecutor
from swarmharness.simulation.owners import offered_next
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import Group
from swarmharness.simulation.signatures import SimulatedIdentity
from swarmharness.simulation.trace import Event
from swarmharness.simulation.virtual_time import NodeClock

if TYPE_CHECKING:
    from swarmharness.simulation.swarm import Swarm

JOINED_BY = 2
"""How many running nodes a newcomer knows."""


@dataclass(slots=True)
class SimulatedNode:
    """Position `number` of its group; `index` counts over all nodes."""

    swarm: Swarm
    index: int
    group_name: str
    group: Group
    number: int
    randomness: SeededRandomness
    disk: SimulatedDisk
    speed_permille: int
    proficiency_permille: dict[str, int]
    ahead_us: int
    drift_ppm: int
    identity: SimulatedIdentity
    session: int = 0
    parts: NodeParts | None = None
    ended: NodeParts | None = None
    """The services of the last session, after its end."""
    executor: ModelExecutor | None = None
    clock: NodeClock | None = None
    scope: trio.CancelScope | None = None
    slow_percent: int = 100
    asked: Counter[str] = field(default_factory=Counter)
    """How often it asked for each skill in this session."""
    up_since_us: int = 0
    down_since_us: int = 0
    away_s: float | None = None
    """How long to stay away after this session, if a fault says so."""
    peer_ids: list[PeerId] = field(default_factory=list)
    reputations: MemoryReputationStore = field(default_factory=MemoryReputationStore)

    @property
    def peer_id(self) -> PeerId:
        """Its id now."""
        return self.identity.peer_id

    @property
    def up(self) -> bool:
        """Whether its services run."""
        return self.parts is not None

    @property
    def honest(self) -> bool:
        """Whether it follows the protocol."""
        return self.group.role == "honest"

    # -- sessions -------------------------------------------------------------------------------------------------

    async def run_session(self) -> None:
        """Run the services until `crash` or `stop`."""
        swarm = self.swarm
        if self.group.role in RENEWED and self.session:
            self._renew()
        self.session += 1
        self.asked.clear()
        self.disk.frozen = False
        network = swarm.network
        network.revive(self.peer_id)
        with trio.CancelScope() as self.scope:
            async with network.node(self.peer_id) as transport, MemoryDht(transport) as dht:
                store = await SimulatedReceiptStore.replay(
                    self.disk, swarm.sleep, swarm.now_us, lambda entries: swarm.checks.committed(self, entries)
                )
                self.clock = NodeClock(ahead_us=self.ahead_us, drift_ppm=self.drift_ppm)
                self.executor = self._executor()
                ports = NodePorts(
                    signer=self.identity,
                    clock=self.clock,
                    randomness=self.randomness,
                    transport=transport,
                    dht=dht,
                    executor=self.executor,
                    receipts=store,
                    peers=self.disk,
                    sequence=SimulatedSequence(self.disk),
                    reputations=self.reputations,
                    refusals=transport.refused,
                    digests=Digests(at_once),
                )
                await self._serve(ports)
        self.parts = None
        self.scope = None
        if self.ended is not None:
            swarm.checks.ended_session(self, self.ended, took_s=(swarm.now_us() - self.down_since_us) / 1e6)
            self.ended = None
        swarm.heap.session_ended()
        self.disk.frozen = True

    async def _serve(self, ports: NodePorts) -> None:
        swarm, model = self.swarm, self.swarm.scenario.node
        settings = NodeSettings(
            registry=RegistrySettings(
                refresh_s=model.refresh_s,
                peers_per_skill_max=model.peers_per_skill_max,
                enough_peers=model.enough_peers,
            ),
            policy=swarm.scenario.routing,
            admission=Policy(
                stranger_budget_microcredits=model.stranger_budget_microcredits, horizon_epochs=model.horizon_hours
            ),
            jobs=JobSettings(task_timeout_s=model.task_timeout_s),
        )
        async with run_services(ports, settings, router_class=ROUTER_CLASSES[model.router]) as parts:
            async with trio.open_nursery() as nursery:
                self.parts = self.ended = parts
                self.up_since_us = swarm.now_us()
                swarm.trace.note(Event.NODE_UP, swarm.now_us(), self.index, self.session)
                swarm.checks.started(self)
                self._misbehave(parts, nursery)
                if self.group.serves_until_s:
                    nursery.start_soon(self._retire)
                if self.group.chooses_every_s:
                    nursery.start_soon(self._choose)
                friends = swarm.some_running(JOINED_BY, besides=self)
                known = [PeerAddress(friend.peer_id, (f"/memory/{friend.peer_id}",)) for friend in friends]
                try:
                    await parts.registry.join_peers(known)
                    await trio.sleep_forever()
                finally:
                    self.parts = None
                    self.down_since_us = swarm.now_us()
                    swarm.trace.note(Event.NODE_DOWN, swarm.now_us(), self.index, self.session)

    def stop(self) -> None:
        """End the session with a farewell to everybody."""
        if self.scope is not None:
            self.scope.cancel()

    def crash(self, *, lost_writes: int = 0) -> None:
        """End the session from one instant to the next; the disk keeps what it has."""
        if self.scope is not None:
            self.swarm.network.kill(self.peer_id)
            reached, lost = self.disk.crash(lost_writes=lost_writes)
            self.swarm.checks.committed(self, [entry for write in reached for entry in write.entries])
            self._lose(lost)
            if lost_writes:
                self.ended = None  # of what is lost nothing can be said
            self.scope.cancel()

    def restore(self, before_us: int) -> None:
        """Put an old backup in place of the disk; the node must not run."""
        self.ended = None
        self._lose(self.disk.restore(before_us))

    def _lose(self, writes: list[Write]) -> None:
        self.swarm.checks.lost(self, (entry for write in writes for entry in write.entries))

    # -- what the node is -----------------------------------------------------------------------------------------

    def set_slow(self, percent: int) -> None:
        """Work at this share of the usual speed, from the next item on."""
        self.slow_percent = percent
        if self.executor is not None:
            self.executor.speed_permille = max(1, self.speed_permille * percent // 100)

    def _executor(self) -> ModelExecutor:
        return ModelExecutor(
            {name: self.swarm.scenario.skills[name] for name in self.group.serves},
            self.randomness,
            self.swarm.sleep,
            slots=self.group.slots,
            speed_permille=max(1, self.speed_permille * self.slow_percent // 100),
            proficiency_permille=self.proficiency_permille,
            behaviour=behaviour_of(
                self.group.role,
                self.group_name,
                self.number,
                cheats_permille=10 * self.group.cheats_percent,
                cheats_after=self.group.cheats_after,
            ),
            done=lambda skill, items, busy_us: self.swarm.work.done(self.index, skill, items, busy_us),
        )

    async def _retire(self) -> None:
        await self.swarm.sleep(max(0.0, self.group.serves_until_s - self.swarm.clock.current_time()))
        if self.executor is not None:
            self.executor.offer(())

    async def _choose(self) -> None:
        """Offer what pays, if that is how its owner is."""
        every_s, executor = self.group.chooses_every_s, self.executor
        before_us: dict[str, int] = {}
        while executor is not None:
            await self.swarm.sleep(every_s)
            busy_us, whole_us = executor.busy_us(), every_s * 1e6 * self.group.slots
            worked = {skill: round(1000 * (busy_us[skill] - before_us.get(skill, 0)) / whole_us) for skill in busy_us}
            before_us = busy_us
            now = [info.name for info in executor.skills()]
            executor.offer(offered_next(now, executor.pays(), worked))

    def _misbehave(self, parts: NodeParts, nursery: trio.Nursery) -> None:
        sleep = self.swarm.sleep
        match self.group.role:
            case "withholder" | "sybil":
                withhold(parts)
            case "forker":
                nursery.start_soon(fork, parts, sleep)
            case "eclipse":
                members = [node for node in self.swarm.nodes if node.group_name == self.group_name]
                role = Eclipse(lambda: known_members([(node.peer_id, node.parts) for node in members], ""))
                self.swarm.network.roles[self.peer_id] = role
                nursery.start_soon(role.push, parts, sleep)

    def _renew(self) -> None:
        """Come back as somebody else."""
        seed = f"{self.swarm.seed}/{self.group_name}/{self.number}/{self.session}"
        self.identity = SimulatedIdentity(hashlib.sha256(seed.encode()).digest(), self.swarm.signatures)
        self.disk.log.clear()
        self.disk.sequence = 0
        self.swarm.enrol(self)
