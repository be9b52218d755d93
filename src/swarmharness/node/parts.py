"""Composes the services of one node on given ports, for a real node and for a simulated one alike; it opens no port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from swarmharness.credit.admission import Policy
from swarmharness.credit.service import CreditService
from swarmharness.credit.spread.service import SpreadService
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import SwarmError
from swarmharness.execution.ports import Executor, SkillInfo
from swarmharness.identity import PeerId, Signer
from swarmharness.jobs.alarms import Alarms
from swarmharness.jobs.asking import RoutedTasks, TaskRunner
from swarmharness.jobs.context import JobContext
from swarmharness.jobs.digesting import Digests
from swarmharness.jobs.hedging import HedgedTasks
from swarmharness.jobs.journal import Journal
from swarmharness.jobs.requester import TaskAnswer, TaskRequester
from swarmharness.jobs.service import JobService, JobSettings
from swarmharness.jobs.tracing import TracedTasks
from swarmharness.jobs.verification.checkers import OWN_PEERS, neighbourhood
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.jobs.verification.service import Verification
from swarmharness.jobs.verification.standings import MemoryReputationStore, ReputationStore, Standings
from swarmharness.jobs.worker import TaskServer
from swarmharness.network.memory_broadcast import MemoryBroadcast
from swarmharness.network.ports import Broadcast, Dht, Transport
from swarmharness.node.disk_gate import DISK, DiskGate
from swarmharness.node.owner_gate import OwnerGate
from swarmharness.owner.limits import OwnerSettings
from swarmharness.owner.ports import OwnerPorts
from swarmharness.owner.service import OwnerService
from swarmharness.ports import Clock, Randomness
from swarmharness.refusals import Refusals
from swarmharness.registry.advert import DeviceInfo
from swarmharness.registry.local_network import LanDiscovery
from swarmharness.registry.models import ModelKey
from swarmharness.registry.own_advert import OwnAdvert
from swarmharness.registry.redemption import Redemption
from swarmharness.registry.service import RegistryService
from swarmharness.registry.settings import RegistrySettings
from swarmharness.registry.stores import PeerStore, SequenceStore
from swarmharness.routing.demand import Demand
from swarmharness.routing.hedging import HedgeBudget
from swarmharness.routing.load_messages import ProbeRequest
from swarmharness.routing.load_reports import LoadReports
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.probe import ProbeService
from swarmharness.routing.router import Router
from swarmharness.routing.standing import Standing
from swarmharness.routing.telling import StandingTeller
from swarmharness.routing.trace import TraceSink

HISTORY_SEARCHED = 4096
"""Own receipts among which those of the jobs' last answers are looked for at the start."""


@dataclass(frozen=True, slots=True)
class NodePorts:
    """Everything through which a node touches the world."""

    signer: Signer
    clock: Clock
    randomness: Randomness
    transport: Transport
    dht: Dht
    executor: Executor
    receipts: ReceiptStore
    peers: PeerStore
    sequence: SequenceStore
    lan: LanDiscovery | None = None
    """Finds nodes on the local network; None where that is off."""
    broadcast: Broadcast | None = None
    """Floods fork proofs; None floods them over the transport."""
    journal: Journal | None = None
    """Remembers jobs; None forgets them with the process."""
    trace: TraceSink | None = None
    """Takes a record of every routed task; None: decisions are neither recorded nor remembered."""
    reputations: ReputationStore | None = None
    """What checks told of peers; None forgets it with the process."""
    owner: OwnerPorts | None = None
    """The owner's machine and pauses; None serves always."""
    refusals: Refusals = field(default_factory=Refusals)
    """What the transport refused, and what the services do."""
    digests: Digests = field(default_factory=Digests)
    """Works out digests of large messages beside the event loop."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What the configuration says about the services."""

    registry: RegistrySettings = field(default_factory=RegistrySettings)
    policy: RoutingPolicy = field(default_factory=RoutingPolicy)
    jobs: JobSettings = field(default_factory=JobSettings)
    price_factor: float = 1.0
    admission: Policy = field(default_factory=Policy)
    verification: VerificationSettings = field(default_factory=VerificationSettings)
    owner: OwnerSettings = field(default_factory=OwnerSettings)
    device: DeviceInfo = field(default_factory=lambda: DeviceInfo(0, 0, (), ()))


@dataclass(frozen=True, slots=True)
class NodeParts:
    """The running services of one node."""

    ports: NodePorts
    settings: NodeSettings
    registry: RegistryService
    router: Router
    credit: CreditService
    spread: SpreadService
    tasks: TaskServer
    jobs: JobService
    hedged: Callable[[JobContext], TaskRunner]
    """Builds what runs single tasks as jobs do, but for checking: whoever takes an answer gives it to `settle`."""
    settle: Callable[[TaskAnswer], None]
    hedges: HedgeBudget
    probes: ProbeService
    verification: Verification
    redemption: Redemption
    demand: Demand
    owner: OwnerService | None
    started_us: int

    def unoffered(self) -> dict[str, str]:
        """Return the skills on this machine that are not offered, with the reason of each."""
        return dict(self.ports.executor.unoffered())

    async def join(self, targets: Sequence[str]) -> dict[PeerId, SwarmError | None]:
        """Join invites and addresses, see `RegistryService.join`, and have the invites' credit lines granted."""
        outcomes = await self.registry.join(targets)
        await self.redemption.redeem(targets)
        return outcomes


@asynccontextmanager
async def run_services(
    ports: NodePorts, settings: NodeSettings, *, router_class: type[Router] = Router
) -> AsyncIterator[NodeParts]:
    """Run a node's services for as long as the block lasts; what depends on another ends before it.

    The simulator passes other routers, to compare with.
    """

    def price_of(skill: SkillInfo) -> int:
        return round(skill.work_microcredits * settings.price_factor)

    # Before anything can be asked of this node, so that a pause is kept from the first moment.
    owner = None if ports.owner is None else await OwnerService.open(ports.owner, ports.clock, settings.owner)

    def not_serving() -> str:
        word = "" if owner is None else owner.verdict.code
        return word or (DISK if ports.receipts.health.problem else "")

    credit = CreditService(
        ports.receipts,
        ports.signer,
        ports.transport,
        ports.clock,
        ports.randomness,
        policy=settings.admission,
        refusals=ports.refusals,
    )
    own = OwnAdvert(
        ports.signer,
        ports.clock,
        ports.sequence,
        skills=ports.executor.skills,
        price_of=price_of,
        addresses=lambda: ports.transport.addresses,
        device=settings.device,
        queued_items=ports.executor.queued_items,
        lifetime_s=settings.registry.lifetime_s,
        not_serving=not_serving,
    )
    registry = RegistryService(
        ports.transport,
        ports.dht,
        own,
        ports.clock,
        ports.randomness,
        peers=ports.peers,
        settings=settings.registry,
        lan=ports.lan,
        refusals=ports.refusals,
        unoffered=lambda skill: ports.executor.unoffered().get(skill, ""),
    )
    standings = Standings(ports.clock, settings.verification, ports.reputations or MemoryReputationStore())
    router = router_class(
        registry,
        settings.policy,
        ports.clock,
        ports.randomness,
        own_id=ports.transport.peer_id,
        round_trip_us=ports.transport.round_trip_us,
        allowed=lambda peer: ports.transport.permits(peer) and peer not in credit.books.banned,
        shunned=standings.shunned,
    )
    redemption = Redemption(ports.transport, ports.clock, grant=credit.redeem)
    tasks = TaskServer(
        ports.executor,
        credit,
        ports.transport,
        ports.clock,
        ports.randomness,
        price_of=price_of,
        digests=ports.digests,
    )
    if owner is not None:
        owner.attach(OwnerGate(tasks, registry))
    unix_offset_us = ports.clock.unix_us() - ports.clock.monotonic_us()
    requester = TaskRequester(ports.transport, credit, ports.clock, ports.randomness, ports.digests)

    def trusts(peer: PeerId) -> bool:
        return peer in credit.policy.own

    verification = Verification(
        router,
        credit,
        standings,
        ports.clock,
        ports.randomness,
        settings.verification,
        own_id=ports.transport.peer_id,
        near=lambda peer: _near(registry, peer, credit.policy),
        trusts=trusts,
    )
    load_reports = LoadReports(ports.executor, ports.transport, router, ports.clock)
    demand = Demand()
    _follow_demand(demand, own, tasks, load_reports, registry, ports)
    probes = ProbeService(router, ports.transport, ports.randomness)
    teller = StandingTeller(router, ports.transport, ports.randomness)
    hedge_budget, alarms = HedgeBudget(), Alarms()

    def hedged(context: JobContext) -> TaskRunner:
        sent = RoutedTasks(router, requester, context.purse, context.options.parameters)
        routed = _traced(sent, router, ports, unix_offset_us)

        def drop(answer: TaskAnswer) -> None:
            context.purse.release(answer.price_microcredits)

        return HedgedTasks(router, routed, hedge_budget, alarms, drop=drop)

    jobs = JobService(
        router,
        lambda context: verification.checked(hedged(context), context),
        ports.clock,
        settings.jobs,
        journal=ports.journal,
        settle=verification.settle,
        trusts=trusts,
    )
    async with _broadcast(ports) as broadcast, trio.open_nursery() as outer:
        spread = SpreadService(
            ports.receipts,
            ports.transport,
            broadcast,
            ports.clock,
            ports.randomness,
            horizon_epochs=settings.admission.horizon_epochs,
            refusals=ports.refusals,
        )
        credit.watch_own(spread.add_own, spread.found_fork)
        credit.watch_own(lambda receipt: jobs.paid(receipt.body, ports.transport.peer_id))
        credit.watch_uncovered(spread.be_shown, spread.be_shown_later)
        spread.watch_receipts(credit.received)
        spread.watch_bans(credit.ban)
        await registry.remember()  # the chain asks those with whom it has receipts, and they must be found
        await outer.start(credit.run)
        await outer.start(spread.run)
        async with trio.open_nursery() as inner:
            await inner.start(registry.run)
            await inner.start(verification.run)
            inner.start_soon(redemption.run)
            inner.start_soon(probes.run)
            inner.start_soon(teller.run)
            inner.start_soon(alarms.run)
            inner.start_soon(load_reports.run)
            inner.start_soon(_settle_owed, ports, jobs, credit)
            inner.start_soon(DiskGate(ports.receipts, tasks, registry).run)
            if owner is not None:
                inner.start_soon(owner.run)
            started_us = ports.clock.monotonic_us()
            yield NodeParts(
                ports,
                settings,
                registry,
                router,
                credit,
                spread,
                tasks,
                jobs,
                hedged,
                requester.settle,
                hedge_budget,
                probes,
                verification,
                redemption,
                demand,
                owner,
                started_us,
            )
            await _flush(ports)
            await verification.finish()
            inner.cancel_scope.cancel()
        # Receipts of the last answers are worth waiting for, but not for long.
        with trio.move_on_after(2):
            await credit.drain()
        outer.cancel_scope.cancel()


def _follow_demand(
    demand: Demand,
    own: OwnAdvert,
    tasks: TaskServer,
    load_reports: LoadReports,
    registry: RegistryService,
    ports: NodePorts,
) -> None:
    """Have what others ask of this node noted, as far as it is about skills that it advertises."""
    clock, own_id = ports.clock, ports.transport.peer_id

    def served(
        peer_id: PeerId, model: ModelKey, *, items: int, service_us: int, elapsed_us: int, found_items: int
    ) -> None:
        load_reports.note_served(
            peer_id, model, items=items, service_us=service_us, elapsed_us=elapsed_us, found_items=found_items
        )
        if peer_id != own_id:
            demand.served(peer_id, model.skill, items, clock.monotonic_us())

    def told(peer_id: PeerId, request: ProbeRequest) -> None:
        standing = Standing(request.expected_us, request.best_us, request.why)
        if own.offers(request.skill):
            demand.told(peer_id, request.skill, standing, clock.monotonic_us())

    def refused(peer_id: PeerId, skill: str, reason: str) -> None:
        if own.offers(skill):
            demand.refused(peer_id, skill, reason, clock.monotonic_us())

    def looked_for(peer_id: PeerId, skill: str) -> None:
        if own.offers(skill):
            demand.looked_for(peer_id, skill, clock.monotonic_us())

    tasks.began, tasks.served, load_reports.told = load_reports.note_began, served, told
    tasks.refused = refused
    registry.watch_searches(looked_for)


def _traced(tasks: TaskRunner, router: Router, ports: NodePorts, unix_offset_us: int) -> TaskRunner:
    if ports.trace is None:
        return tasks
    return TracedTasks(router, tasks, ports.clock, ports.trace, unix_offset_us=unix_offset_us)


async def _flush(ports: NodePorts) -> None:
    """Have the last answers on disk, whereupon they are paid for."""
    with trio.move_on_after(2):
        if ports.journal is not None:
            await ports.journal.flush()


async def _settle_owed(ports: NodePorts, jobs: JobService, credit: CreditService) -> None:
    """Pay for answers of jobs that the last run of this node took and did not come to pay for."""
    if ports.journal is not None and await ports.journal.owed():
        entries = await ports.receipts.history(ports.signer.peer_id, limit=HISTORY_SEARCHED)
        await jobs.settle_owed((task for entry in entries for task in entry.body.tasks), credit.settle_task)


@asynccontextmanager
async def _broadcast(ports: NodePorts) -> AsyncIterator[Broadcast]:
    if ports.broadcast is not None:
        yield ports.broadcast
        return
    async with MemoryBroadcast(ports.transport) as flood:
        yield flood


def _near(registry: RegistryService, peer: PeerId, policy: Policy) -> frozenset[str]:
    """Return what a peer may have in common with others: the prefixes of its addresses, and being the operator's."""
    prefixes = neighbourhood(registry.addresses_of(peer))
    return prefixes | {OWN_PEERS} if peer in policy.own else prefixes
