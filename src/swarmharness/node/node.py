"""The composition root: gives a node's services their real adapters, runs them, and stops them inside-out."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

import swarmharness.network.libp2p_names  # noqa: F401 - before anything of libp2p
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.errors import SwarmError
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.providers import AUTO
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.identity import PeerId
from swarmharness.jobs.plan import PlanSettings
from swarmharness.jobs.service import JobSettings
from swarmharness.jobs.sqlite_journal import Keeping, open_journal
from swarmharness.jobs.verification.policy import Mode, VerificationSettings
from swarmharness.jobs.verification.sqlite_reputations import SqliteReputationStore
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.settings import MIB, AccessRules, BulkSettings, ChannelSettings, NetworkSettings
from swarmharness.node.api import InviteTerms, NodeApi
from swarmharness.node.chosen_ports import concrete_listen
from swarmharness.node.config import Config
from swarmharness.node.config_changes import InForce
from swarmharness.node.control import serve_control
from swarmharness.node.data_dir import DataDir, cache_dir
from swarmharness.node.device import describe_device
from swarmharness.node.free_memory import give_back_memory
from swarmharness.node.machine_watch import watch_machine
from swarmharness.node.offered_skills import Offer, OfferedSkills, keep_offering
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.node.pause_file import PauseFile
from swarmharness.node.psk import swarm_psk
from swarmharness.node.reload import watch_config
from swarmharness.node.set_aside import find_set_aside
from swarmharness.node.signals import ending_signals
from swarmharness.node.trace_file import TraceFile
from swarmharness.owner.machine import MachineSensors
from swarmharness.owner.ports import OwnerPorts
from swarmharness.owner.time_zone import SystemWallClock
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.registry.invite import parse_join_target
from swarmharness.registry.mdns import discover_on_lan
from swarmharness.registry.settings import RegistrySettings
from swarmharness.registry.stores import FilePeerStore, FileSequenceStore

DRAIN_TIMEOUT_S = 10.0
MODELS_FOLDER = "models"

_log = logging.getLogger(__name__)


async def run_node(
    directory: DataDir,
    config: Config,
    *,
    config_file: Path,
    listen: Sequence[str],
    join: Sequence[str],
    skills: Sequence[str] | None,
    on_ready: Callable[[dict[str, Any]], None],
    on_stopping: Callable[[], None] = lambda: None,
) -> None:
    """Run a node until Ctrl-C, a signal to end, or `node.stop`; then finish what it has, and return.

    `listen`, `join` and `skills` (None: as configured) come from the command line and win over the configuration.
    `config_file` is where `config` came from; it is watched for changes that need no restart.
    """
    stopping = trio.Event()
    targets = [*config.network.bootstrap, *join]
    with trio.open_signal_receiver(signal.SIGINT, *ending_signals()) as signals:
        opened = open_node(directory, config, listen=listen, join=targets, skills=skills, stop=stopping.set)
        async with opened as node, trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, signals, stopping)
            await nursery.start(serve_control, directory.control_socket, node.api)
            nursery.start_soon(_join_all, node.parts, targets)
            transport = node.parts.ports.transport
            on_ready(
                {
                    "peer_id": transport.peer_id,
                    "addresses": transport.addresses,
                    "skills": [skill.name for skill in node.executor.skills()],
                    "not_offered": node.parts.unoffered(),
                }
            )
            nursery.start_soon(keep_offering, node.skills, node.offer, node.parts, node.executor)
            nursery.start_soon(watch_machine, node.parts, node.executor)
            nursery.start_soon(give_back_memory)
            nursery.start_soon(watch_config, config_file, config, node.apply)
            await stopping.wait()
            on_stopping()
            with trio.move_on_after(DRAIN_TIMEOUT_S):
                await node.parts.tasks.drain()
            nursery.cancel_scope.cancel()


@dataclass(frozen=True, slots=True)
class OpenNode:
    """A running node."""

    parts: NodeParts
    api: NodeApi
    executor: ProcessExecutor
    skills: OfferedSkills
    offer: Offer
    """What is offered at the start."""
    transport: Libp2pTransport
    trace: TraceFile
    in_force: InForce

    def apply(self, config: Config) -> None:
        """Put into force what needs no restart: routing, traces, access, who is served on credit, owner's limits."""
        self.in_force.changed(config)
        self.parts.router.set_policy(config.routing)
        self.transport.set_access(_access(config))
        self.parts.credit.set_policy(config.credit.policy)
        _switch(self.trace, config)
        if self.parts.owner is not None:
            self.parts.owner.set_settings(config.owner.settings)


@asynccontextmanager
async def open_node(
    directory: DataDir,
    config: Config,
    *,
    listen: Sequence[str],
    join: Sequence[str],
    skills: Sequence[str] | None,
    stop: Callable[[], None],
) -> AsyncIterator[OpenNode]:
    """Hold the data directory and run a node in it for as long as the block lasts.

    It joins nobody by itself, but the key of a private swarm that an invite in `join` brings is used and remembered.
    """
    directory.create()
    with directory.lock():
        identity, clock, randomness = directory.identity(), SystemClock(), SystemRandomness()
        models = ModelStore(cache_dir() / MODELS_FOLDER)
        wanted = config.execution.skills if skills is None else skills
        installed = OfferedSkills(directory.skills_folder, models, wanted, fetch_models=config.execution.fetch_models)
        offer = installed.first()
        psk = swarm_psk(directory, config, join, now_unix_s=clock.unix_us() // 1_000_000)
        named = _named_peers(config, join, now_unix_s=clock.unix_us() // 1_000_000)
        network = replace(_network_settings(config, concrete_listen(directory, tuple(listen)), psk), configured=named)
        async with (
            open_sqlite_store(directory.database, owner=identity.peer_id, unix_us=clock.unix_us()) as receipts,
            open_journal(directory.jobs_database, _keeping(config)) as journal,
            Libp2pTransport(network, identity, randomness=randomness) as transport,
            Libp2pDht(transport) as dht,
            Libp2pBroadcast(transport) as broadcast,
            ProcessExecutor(offer.skills, models, _executor_settings(config)) as executor,
        ):
            executor.problems = offer.problems
            trace = TraceFile()
            _switch(trace, config)
            ports = NodePorts(
                signer=identity,
                clock=clock,
                randomness=randomness,
                transport=transport,
                dht=dht,
                executor=executor,
                receipts=receipts,
                journal=journal,
                reputations=SqliteReputationStore(directory.reputations_database),
                peers=FilePeerStore(directory.path / "peers.jsonl"),
                sequence=FileSequenceStore(directory.path / "sequence"),
                lan=discover_on_lan if config.network.mdns else None,
                broadcast=broadcast,
                trace=trace,
                refusals=transport.refused,
                # Whoever does not listen is a command's client: it serves nobody, and ends in a moment.
                owner=OwnerPorts(MachineSensors(), PauseFile(directory), SystemWallClock()) if listen else None,
            )
            async with run_services(ports, _node_settings(config)) as parts:
                transport.known = partial(_knows, parts)
                terms = InviteTerms(psk, config.credit.invite_line_microcredits)
                in_force = InForce(config)
                api = NodeApi(
                    parts,
                    terms,
                    stop=stop,
                    set_aside=partial(_aside, directory),
                    in_force=in_force.values,
                    connections=transport.connections,
                )
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trace.run)
                    await nursery.start(api.run)
                    yield OpenNode(parts, api, executor, installed, offer, transport, trace, in_force)
                    nursery.cancel_scope.cancel()


def _aside(directory: DataDir) -> list[dict[str, Any]]:
    return [one.as_dict() for one in find_set_aside(directory.path)]


def _switch(trace: TraceFile, config: Config) -> None:
    trace.switch(Path(config.trace.file) if config.trace.file else None, bytes_max=config.trace.max_mib * MIB)


async def _stop_on_signal(signals: AsyncIterator[int], stopping: trio.Event) -> None:
    async for number in signals:
        _log.info("stopping on %s", signal.Signals(number).name)
        stopping.set()


async def _join_all(parts: NodeParts, targets: Sequence[str]) -> None:
    """Join every target; the registry keeps trying those that fail, and `node status` shows them."""
    for peer_id, error in (await parts.join(targets)).items():
        if error is not None:
            _log.warning("cannot join %s yet: %s", peer_id, error)


def _network_settings(config: Config, listen: tuple[str, ...], psk: bytes | None) -> NetworkSettings:
    network = config.network
    return NetworkSettings(
        listen=listen,
        announce=network.announce,
        psk_hex=psk.hex() if psk else "",
        access=_access(config),
        limits=config.limits.settings,
        streams=config.limits.streams,
        broadcast=config.limits.broadcast,
        channel=ChannelSettings(heartbeat_s=network.heartbeat_s, call_time_max_s=config.limits.call_time_max_s),
        bulk=BulkSettings(
            payload_bytes_max=network.bulk_max_mib * MIB, memory_bytes_max=2 * network.bulk_max_mib * MIB
        ),
    )


def _named_peers(config: Config, join: Sequence[str], *, now_unix_s: int) -> frozenset[PeerId]:
    """Return the peers that the configuration and the command line name, but for those that are excluded."""
    named = {*config.network.allow, *config.credit.own_peers, *config.credit.lines}
    for target in join:
        with suppress(SwarmError):  # whoever joins it says what is wrong
            named.add(parse_join_target(target, now_unix_s=now_unix_s).peer.peer_id)
    return frozenset(map(PeerId, named.difference(config.network.deny)))


def _knows(parts: NodeParts, peer: PeerId) -> bool:
    """Tell whether this node has a credit line for a peer, or receipts with it."""
    policy, ledger, me = parts.credit.policy, parts.credit.books.ledger, parts.ports.transport.peer_id
    return peer in policy.own or peer in policy.lines or bool(ledger.work(me, peer) or ledger.work(peer, me))


def _access(config: Config) -> AccessRules:
    allow, deny = (frozenset(PeerId(peer) for peer in peers) for peers in (config.network.allow, config.network.deny))
    return AccessRules(allow or None, deny)


def _executor_settings(config: Config) -> ExecutorSettings:
    execution = config.execution
    return ExecutorSettings(
        threads=execution.threads,
        cpu_share=execution.cpu_share,
        providers=() if AUTO in execution.providers else execution.providers,
        queue_items=execution.queue_items_max,
        memory_limit_mib=execution.memory_limit_mib,
        model_bytes_max=execution.model_size_max_mib * MIB,
        idle_unload_s=execution.idle_unload_s,
        fetch_models=execution.fetch_models,
    )


def _keeping(config: Config) -> Keeping:
    return Keeping(config.jobs.keep_days, config.jobs.keep_mib * MIB)


def _node_settings(config: Config) -> NodeSettings:
    jobs = config.jobs
    plan = PlanSettings(chunk_target_us=jobs.chunk_target_ms * 1000, attempts_max=jobs.attempts_max)
    registry = config.registry
    return NodeSettings(
        registry=RegistrySettings(registry.refresh_s, registry.peers_per_skill_max),
        policy=config.routing,
        jobs=JobSettings(plan=plan, deadline_s=jobs.deadline_s),
        price_factor=config.credit.price_factor,
        admission=config.credit.policy,
        verification=VerificationSettings(
            mode=Mode(jobs.verify),
            replicas=jobs.replicas,
            tolerance=jobs.tolerance,
            spot_checks=jobs.spot_checks,
        ),
        owner=config.owner.settings,
        device=describe_device(),
    )
