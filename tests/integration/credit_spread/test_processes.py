"""Fork proofs spread between real node processes on loopback; receipts do in tests/integration/swarm."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from swarmharness.credit.chain import opening
from swarmharness.credit.forks import fork_proof
from swarmharness.credit.spread.messages import FORKS_TOPIC
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.identity import PeerId
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.settings import NetworkSettings
from swarmharness.node.process import NodeProcess
from swarmharness.protocol.codec import encode
from swarmharness.pytest_plugin import ProcessSwarm
from tests.unit.credit.builders import NOON_US, body, half, identity

pytestmark = pytest.mark.processes

ASKING = "version = 1\n\n[execution]\nskills = []\n"
MALLORY = identity(77)


async def until(condition: Callable[[], bool], *, deadline_s: float = 60) -> None:
    with trio.fail_after(deadline_s):
        while not await trio.to_thread.run_sync(condition):
            await trio.sleep(0.2)


def banned(node: NodeProcess) -> set[str]:
    file = ReceiptFile(node.data_dir.database, read_only=True)
    try:
        return {proof.signer for proof in file.forks()}
    finally:
        file.close()


async def test_a_proof_reaches_every_process_and_those_that_come_later_c_23(process_swarm: ProcessSwarm) -> None:
    nodes = process_swarm(5, config=ASKING)
    place = opening(0, NOON_US)
    proof = fork_proof(half(body(1), MALLORY, place=place), half(body(2), MALLORY, place=place))
    assert proof is not None
    async with Libp2pTransport(NetworkSettings(), identity(78)) as transport, Libp2pBroadcast(transport) as broadcast:

        async def ignore(sender: object, data: bytes) -> bool:
            return False

        broadcast.subscribe(FORKS_TOPIC, ignore)
        transport.add_addresses(PeerAddress(PeerId(nodes[4].peer_id), nodes[4].addresses))
        await transport.connect(PeerId(nodes[4].peer_id), timeout_s=10)
        with trio.fail_after(30):
            while not banned(nodes[4]):  # the mesh takes a moment
                await broadcast.publish(FORKS_TOPIC, encode(proof))
                await trio.sleep(0.5)
        await until(lambda: all(banned(node) == {MALLORY.peer_id} for node in nodes))
    (late,) = process_swarm(1, config=ASKING)
    await until(lambda: banned(late) == {MALLORY.peer_id})
