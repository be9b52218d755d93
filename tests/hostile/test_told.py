"""D9 of the hostile network: who attacks is told, by its peer id or its network, whatever it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from swarmharness.node.process import NodeProcess
from swarmharness.protocol.frame import FrameKind, encode_frame, encode_request
from tests.hostile.raw_peer import DATA, FIN, RawPeer, address_of
from tests.hostile.test_crowds import node_with, say_hello, status_of

pytestmark = [pytest.mark.processes]
TIMES = 30


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    with node_with(tmp_path_factory.mktemp("node")) as running:
        yield running


async def attacks_of(node: NodeProcess, source: str) -> dict[str, dict[str, Any]]:
    """Return the attacks of a peer or network by reason."""
    return {row["reason"]: row for row in (await status_of(node))["attacks"] if row["from"] == source}


async def when_told(node: NodeProcess, source: str, reason: str) -> dict[str, Any]:
    """Return an attack as soon as the node tells it."""
    with trio.fail_after(20):
        while True:
            row = (await attacks_of(node, source)).get(reason)
            if row is not None:
                return row
            await trio.sleep(0.02)


def command(node: NodeProcess, *words: str) -> str:
    answer = subprocess.run(
        [sys.executable, "-m", "swarmharness", *words, "--data-dir", str(node.data_dir.path)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return answer.stdout.decode()


async def test_whoever_floods_a_channel_with_what_is_no_message_is_named(node: NodeProcess) -> None:
    async with await RawPeer.meet(address_of(node.addresses), source="127.7.1.1") as peer:
        number = await say_hello(peer)
        for request_id in range(TIMES):
            rubbish = encode_request(FrameKind.REQUEST, request_id, 1000, b"load.probe", b"\xc1 no message")
            await peer.send_frame(DATA, 0, number, rubbish)
        row = await when_told(node, peer.peer_id, "malformed")
        assert row["action"] == "refused"
        assert not await attacks_of(node, "127.7.1.0/24")
    listed = json.loads(command(node, "node", "status", "--json"))["attacks"]
    assert peer.peer_id in {one["from"] for one in listed}
    (line,) = [line for line in command(node, "node", "status").splitlines() if peer.peer_id in line]
    assert "malformed" in line
    assert f"attack: {peer.peer_id}: malformed" in command(node, "doctor")


async def test_whoever_breaks_frames_again_and_again_is_named_and_what_was_done(node: NodeProcess) -> None:
    identity = Ed25519PrivateKey.generate()
    rows: dict[str, dict[str, Any]] = {}
    with trio.fail_after(30):
        while "frame" not in rows:
            address = address_of(node.addresses)
            async with await RawPeer.meet(address, source="127.7.2.1", identity=identity) as peer:
                await peer.send_frame(DATA, 0, await say_hello(peer), encode_frame(99, 0))
            rows = await attacks_of(node, peer.peer_id)
    assert rows["frame"]["action"] == "connection closed"


async def test_many_identities_of_one_network_are_one_attack(node: NodeProcess) -> None:
    for host in range(1, TIMES + 1):
        async with await RawPeer.meet(address_of(node.addresses), source=f"127.7.3.{host}") as peer:
            number = await peer.open_stream("/swarmharness/channel/1")
            await peer.send_frame(DATA, FIN, number, encode_frame(FrameKind.PING, 0, bytes(8)))
            await peer.read_stream(number)
    row = await when_told(node, "127.7.3.0/24", "hello")
    assert row["count"] == TIMES
    assert row["since_unix_s"] > 0


async def test_who_proves_nothing_is_told_by_its_network(node: NodeProcess) -> None:
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        for host in range(1, 3 * TIMES):
            peer = await RawPeer.connect(address_of(node.addresses), source=f"127.7.4.{host}")
            nursery.start_soon((await stack.enter_async_context(peer)).drain)
    row = await when_told(node, "127.7.4.0/24", "connection: half-open")
    assert row["action"] == "connection closed"


async def test_who_says_what_nobody_understands_leaves_a_trace(node: NodeProcess) -> None:
    before = (await status_of(node))["connections"]["dropped"].get("connection: broken handshake", 0)
    for host in range(1, TIMES + 1):
        async with await RawPeer.connect(address_of(node.addresses), source=f"127.7.5.{host}") as peer:
            await peer.stream.send_all(bytes(range(256)))
            await peer.drain()
    after = (await status_of(node))["connections"]["dropped"]["connection: broken handshake"]
    assert after - before == TIMES
