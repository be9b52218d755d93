"""A job that is cancelled, or whose deadline passes, empties the queue of the worker: a real worker process."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.ports import Executor
from swarmharness.identity import Identity
from swarmharness.jobs.context import JobOptions
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_dht import MemoryDht
from swarmharness.network.ports import PeerAddress
from swarmharness.node.parts import NodeParts, NodePorts, NodeSettings, run_services
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.registry.stores import MemoryPeerStore, MemorySequenceStore
from tests.unit.execution.builders import counting, installed, item

STEPS = 20_000
"""So far the model counts for one item: some milliseconds."""
ITEMS = 3000


@dataclass
class Pair:
    client: NodeParts
    executor: ProcessExecutor

    async def until_queued(self) -> None:
        while not self.executor.queued_items("toy"):
            await trio.sleep(0.01)

    async def until_idle(self) -> None:
        while self.executor.queued_items("toy"):
            await trio.sleep(0.01)


@asynccontextmanager
async def node(network: MemoryNetwork, seed: bytes, executor: Executor) -> AsyncIterator[NodeParts]:
    identity = Identity(hashlib.sha256(seed).digest())
    async with network.node(identity.peer_id) as transport, MemoryDht(transport) as dht:
        ports = NodePorts(
            signer=identity,
            clock=SystemClock(),
            randomness=SystemRandomness(),
            transport=transport,
            dht=dht,
            executor=executor,
            receipts=MemoryReceiptStore(),
            peers=MemoryPeerStore(),
            sequence=MemorySequenceStore(),
        )
        async with run_services(ports, NodeSettings()) as parts:
            yield parts


@asynccontextmanager
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    skill, store = installed(tmp_path, counting())
    async with (
        MemoryNetwork() as network,
        ProcessExecutor([skill], store) as executor,
        ProcessExecutor([], store) as none,
        node(network, b"worker", executor) as worker,
        node(network, b"client", none) as client,
    ):
        await executor.load("toy")
        transport = worker.ports.transport
        await client.registry.join_peers([PeerAddress(transport.peer_id, transport.addresses)])
        yield Pair(client, executor)


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_what_waits_at_the_worker_is_not_run(tmp_path: Path, how: str) -> None:
    inputs = [item(n=STEPS)] * ITEMS
    async with pair(tmp_path) as swarm:
        pid = swarm.executor.worker_pids()["toy"]
        settings = replace(swarm.client.settings.jobs, deadline_s=1.0 if how == "deadline" else 600.0)
        with trio.fail_after(60):
            async with swarm.client.jobs.open("toy", settings, options=JobOptions("none")) as job:
                await job.feed(inputs, last=True)
                await swarm.until_queued()
                if how == "deadline":
                    _ = [result async for result in job.results()]
                    await swarm.until_idle()
                answered = job.progress.items_done
            # Leaving the job cancelled it; one batch may be in the worker's hands.
            await swarm.until_idle()
            assert answered < ITEMS // 2
            (result,) = (await swarm.executor.run("toy", (item(n=1),), timeout_s=30)).outputs
            assert not result.error
            assert swarm.executor.worker_pids()["toy"] == pid, "the worker itself lives on"
