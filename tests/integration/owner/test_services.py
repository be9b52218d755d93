"""A whole node on the twins of network and executor, with an owner whose machine the test controls."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio

from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.errors import ErrorKind, UnavailableError
from swarmharness.execution.memory import MemoryExecutor, MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.identity import Identity
from swarmharness.jobs.service import ItemResult, JobSettings
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.owner.limits import Limits, OwnerSettings
from swarmharness.owner.ports import OwnerPorts, Pause, Readings
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.registry.stores import MemoryPeerStore, MemorySequenceStore
from tests.unit.owner.builders import FakeSensors, MemoryPauses, owner_ports

LIMITS = Limits(cpu_others_max_percent=50, memory_available_min_mib=0, on_battery=True, battery_min_percent=0, calm_s=0)
OWNER = OwnerSettings(LIMITS, check_s=0.02, drain_s=0.2)
BUSY, IDLE = Readings(cpu_others_percent=90), Readings(cpu_others_percent=0)
ITEMS = [f"item {number}".encode() for number in range(60)]


def echo(service_us: int) -> MemorySkill:
    return MemorySkill("echo", lambda item: ItemOutput(item), service_us)


@asynccontextmanager
async def node(
    network: MemoryNetwork,
    name: str,
    *join: NodeParts,
    serves: MemorySkill | None = None,
    owner: OwnerPorts | None = None,
    settings: OwnerSettings = OWNER,
) -> AsyncIterator[NodeParts]:
    identity = Identity(hashlib.sha256(name.encode()).digest())
    async with network.node(identity.peer_id) as transport, MemoryDht(transport) as dht:
        ports = NodePorts(
            signer=identity,
            clock=SystemClock(),
            randomness=SystemRandomness(),
            transport=transport,
            dht=dht,
            executor=MemoryExecutor((serves,) if serves else ()),
            receipts=MemoryReceiptStore(),
            peers=MemoryPeerStore(),
            sequence=MemorySequenceStore(),
            owner=owner,
        )
        jobs = JobSettings(patience_s=0.5, deadline_s=8.0)
        async with run_services(ports, NodeSettings(owner=settings, jobs=jobs)) as parts:
            await parts.registry.join_peers(
                [PeerAddress(known.ports.transport.peer_id, known.ports.transport.addresses) for known in join]
            )
            yield parts


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not condition():
            await trio.sleep(0.005)


def candidates(parts: NodeParts) -> set[str]:
    return {choice.peer_id for choice in parts.registry._known_candidates("echo")}


async def submit(parts: NodeParts, items: list[bytes], during: Callable[[], None] | None = None) -> list[ItemResult]:
    """Run a job; `during` is called when something is answered and most is not."""
    async with parts.jobs.open("echo") as job:
        await job.feed(items, last=True)
        if during is not None:
            await until(lambda: job.progress.items_done > 0)
            assert job.progress.items_done < len(items)
            during()
        return [result async for result in job.results()]


async def test_a_job_goes_on_elsewhere_when_an_owner_comes_home_and_nobody_is_blamed() -> None:
    sensors, helper = FakeSensors(IDLE), echo(5_000)
    async with (
        MemoryNetwork() as network,
        node(network, "busy", serves=helper, owner=owner_ports(sensors)) as busy,
        node(network, "other", busy, serves=helper) as other,
        node(network, "client", busy, other) as client,
    ):
        me, spare = busy.ports.transport.peer_id, other.ports.transport.peer_id
        await client.registry.candidates("echo")
        await until(lambda: candidates(client) == {me, spare})
        results = await submit(client, ITEMS, lambda: setattr(sensors, "readings", BUSY))
        assert [result.output for result in results] == ITEMS
        assert not any(result.error for result in results)
        await until(lambda: candidates(client) == {spare})
        (row,) = [row for row in client.router.peers() if row["peer"] == me]
        assert (row["usable"], row["not_serving"]) == (True, "its owner uses its processor")
        assert row["skills"][0]["trust"] == 0.5, "handing back is honest"
        assert {result.peer for result in await submit(client, ITEMS[:8])} == {spare}
        assert busy.tasks.active == 0
        (excluded,) = [one for one in client.router.explain("echo").candidates if one.view.peer_id == me]
        assert (excluded.position, excluded.reason) == (0, "it serves nobody now: its owner uses its processor")
        sensors.readings = IDLE
        await until(lambda: candidates(client) == {me, spare})


async def test_what_cannot_finish_in_time_is_handed_back_and_answered_elsewhere() -> None:
    sensors = FakeSensors(IDLE)
    async with (
        MemoryNetwork() as network,
        node(network, "slow", serves=echo(3_600_000_000), owner=owner_ports(sensors)) as slow,
        node(network, "client", slow) as client,
    ):
        results: list[ItemResult] = []

        async def ask() -> None:
            results.extend(await submit(client, ITEMS[:1]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: slow.tasks.active == 1)
            async with node(network, "other", slow, client, serves=echo(1000)) as other:
                sensors.readings = BUSY
                await until(lambda: bool(results))
                assert (results[0].output, results[0].peer) == (ITEMS[0], other.ports.transport.peer_id)
                assert slow.tasks.active == 0
                earned = (await slow.credit.balance()).earned_microcredits
                assert earned == 0, "what was handed back is not paid"


async def test_the_owner_s_own_jobs_run_while_others_are_refused() -> None:
    pauses = MemoryPauses(Pause())
    async with (
        MemoryNetwork() as network,
        node(network, "paused", serves=echo(1000), owner=owner_ports(FakeSensors(IDLE), pauses)) as paused,
        node(network, "client", paused) as client,
    ):
        assert [result.output for result in await submit(paused, ITEMS)] == ITEMS
        await until(lambda: any(known.advert.not_serving for known in client.registry.known()))
        with pytest.raises(UnavailableError, match="no node serves 'echo' now: its owner paused it"):
            await submit(client, ITEMS)
        assert paused.owner is not None
        await paused.owner.resume()
        await until(lambda: bool(candidates(client)))
        assert [result.output for result in await submit(client, ITEMS)] == ITEMS


async def test_a_job_that_loses_its_last_worker_to_its_owner_waits_and_ends_with_that_reason() -> None:
    sensors = FakeSensors(IDLE)
    settings = replace(OWNER, drain_s=0)
    async with (
        MemoryNetwork() as network,
        node(network, "only", serves=echo(20_000), owner=owner_ports(sensors), settings=settings) as only,
        node(network, "client", only) as client,
    ):
        await client.registry.candidates("echo")
        results = await submit(client, ITEMS, lambda: setattr(sensors, "readings", BUSY))
        unanswered = [result for result in results if result.error]
        assert 0 < len(unanswered) < len(ITEMS)
        for result in unanswered:
            assert result.error_kind is ErrorKind.DEADLINE
            assert "its owner uses its processor" in result.error
