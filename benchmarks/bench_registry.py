"""Resolving a skill in a swarm of 20 node processes: cold, warm, and after 30% of them were killed without warning.

The first node bootstraps and serves nothing; the others serve `file-type`. The clients run in this process and are new
for every cold figure. The floor of a cold look-up is one call to one connected node, that of a warm one a look-up in a
dictionary.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

import trio

from benchmarks.harness import Row, judge, median
from swarmharness.identity import PeerId
from swarmharness.network.dht_lookup import Lookup
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import Dht, PeerAddress
from swarmharness.node.client import client_node
from swarmharness.node.config import Config
from swarmharness.node.data_dir import DataDir
from swarmharness.node.parts import NodeParts
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from swarmharness.protocol.codec import encode
from swarmharness.registry.messages import METHOD_ADVERT, AdvertRequest

NAME = "registry"
DESCRIPTION = "resolving a skill in 20 processes: cold, warm, and after SIGKILL of 30% of them"

SKILL = "file-type"
PROCESSES = 20
KILLED = 6
SILENT = "version = 1\n\n[execution]\nskills = []\n"
SERVING = "version = 1\n\n[execution]\nthreads = 1\n"
SETTLE_TIMEOUT_S = 120.0
CALLS = 1000
KEY = b"\x07" * 32
FOUND_MAX = 32


def run(quick: bool) -> list[Row]:
    """See `harness.Benchmark`."""
    processes, killed, rounds = (8, 2, 2) if quick else (PROCESSES, KILLED, 7)
    with tempfile.TemporaryDirectory() as folder, NodeGroup() as group:
        base = Path(folder)
        (first,) = group.start(NodeLaunch(base / "bootstrap", config=SILENT))
        workers: list[NodeProcess] = []
        while len(workers) < processes - 1:  # a few at a time: starting is work for the processor
            numbers = range(len(workers), min(len(workers) + 4, processes - 1))
            launches = [NodeLaunch(base / f"{n}", (first.join_address,), (SKILL,), SERVING) for n in numbers]
            workers += group.start(*launches)
        return trio.run(_measure, base, first, workers, killed, rounds)


async def _measure(base: Path, first: NodeProcess, workers: list[NodeProcess], killed: int, rounds: int) -> list[Row]:
    await _settled(base, first, len(workers))
    cold_ms, call_ms = [], []
    for number in range(rounds):
        async with client_node(DataDir.at(base / f"cold-{number}"), Config(), [first.join_address]) as api:
            call_ms.append(await _call_ms(api.parts, first))
            started = time.perf_counter()
            await api.parts.registry.candidates(SKILL)
            cold_ms.append((time.perf_counter() - started) * 1000)
    async with client_node(DataDir.at(base / "asking"), Config(), [first.join_address]) as api:
        await _all_known(api.parts, len(workers))
        await api.parts.ports.dht.find_providers(KEY, limit=FOUND_MAX)
        asked = _last_lookup(api.parts.ports.dht)
    modelled = await _modelled([first.peer_id, *(worker.peer_id for worker in workers)])
    async with client_node(DataDir.at(base / "busy"), Config(), [first.join_address]) as api:
        await _job_s(api.parts)
        await trio.sleep(1)
        warm_us, dictionary_us = await _warm_us(api.parts), _dictionary_us()
        for worker in workers[:killed]:
            worker.process.kill()
        busy_s = await _job_s(api.parts)
    async with client_node(DataDir.at(base / "fresh"), Config(), [first.join_address]) as api:
        fresh_s = await _job_s(api.parts)
    total = len(workers) + 1
    return [
        judge(f"cold, {total} processes", median(cold_ms), "ms", floor=median(call_ms), at_most=300.0),
        judge("cold, the slowest", max(cold_ms), "ms", floor=median(call_ms)),
        judge("queries of a DHT look-up; floor: its twin", asked.queried, "", floor=modelled.queried),
        judge("rounds of a DHT look-up; floor: its twin", asked.hops, "", floor=modelled.hops),
        judge("warm", warm_us, "us", floor=dictionary_us, at_most=1000.0),
        judge(f"first result after SIGKILL of {killed}, busy client", busy_s, "s", at_most=2.0),
        judge(f"first result after SIGKILL of {killed}, new client", fresh_s, "s", at_most=2.0),
    ]


async def _settled(base: Path, first: NodeProcess, workers: int) -> None:
    """Wait until every worker is known and has measured its model, so that starting is not part of any figure."""
    async with client_node(DataDir.at(base / "settling"), Config(), [first.join_address]) as api:
        with trio.fail_after(SETTLE_TIMEOUT_S):
            while True:
                adverts = await api.parts.registry.candidates(SKILL)
                measured = sum(skill.service_us > 0 for advert in adverts for skill in advert.skills)
                if measured >= workers:
                    return
                await trio.sleep(0.2)


async def _all_known(parts: NodeParts, workers: int) -> None:
    with trio.fail_after(SETTLE_TIMEOUT_S):
        while True:
            if len(await parts.registry.candidates(SKILL)) >= workers:
                return
            await trio.sleep(0.2)


def _last_lookup(dht: Dht) -> Lookup:
    assert isinstance(dht, Libp2pDht)
    return dht.lookups[-1]


async def _modelled(peer_ids: list[str]) -> Lookup:
    """Return what the same look-up takes in the DHT's twin, where the same nodes know each other."""
    async with MemoryNetwork() as network, AsyncExitStack() as stack:
        dhts = []
        transports = []
        for peer_id in [*peer_ids, "newcomer"]:
            transports.append(await stack.enter_async_context(network.node(PeerId(peer_id))))
            dhts.append(await stack.enter_async_context(MemoryDht(transports[-1])))
        for dht in dhts:
            for transport in transports[:-1]:
                if transport is not transports[dhts.index(dht)]:
                    await dht.add_peer(PeerAddress(transport.peer_id, transport.addresses))
        await dhts[-1].find_providers(KEY, limit=FOUND_MAX)
        return dhts[-1].lookups[-1]


async def _call_ms(parts: NodeParts, first: NodeProcess) -> float:
    peer_id = next(peer for peer in parts.ports.transport.connected() if peer == first.peer_id)
    started = time.perf_counter()
    await parts.ports.transport.call(peer_id, METHOD_ADVERT, encode(AdvertRequest()), timeout_s=5)
    return (time.perf_counter() - started) * 1000


async def _warm_us(parts: NodeParts) -> float:
    times = []
    for _ in range(CALLS):
        started = time.perf_counter_ns()
        await parts.registry.candidates(SKILL)
        times.append((time.perf_counter_ns() - started) / 1000)
    return median(times)


def _dictionary_us() -> float:
    known = {SKILL: ()}
    times = []
    for _ in range(CALLS):
        started = time.perf_counter_ns()
        known.get(SKILL)
        times.append((time.perf_counter_ns() - started) / 1000)
    return median(times)


async def _job_s(parts: NodeParts) -> float:
    """Return the time from submitting 40 small items to the first result; all must be answered."""
    started = time.perf_counter()
    first_s = 0.0
    async with parts.jobs.open(SKILL) as job:
        await job.feed([f"print({number})\n".encode() for number in range(40)], last=True)
        async for result in job.results():
            first_s = first_s or time.perf_counter() - started
            if result.error:
                raise RuntimeError(f"item {result.index} was not answered: {result.error}")
    return first_s
