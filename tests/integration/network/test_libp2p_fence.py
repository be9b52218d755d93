"""X-1 for libp2p: an exception raised in each of its entry points ends no more than what it belongs to."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from libp2p.custom_types import TProtocol
from libp2p.network.connection.swarm_connection import SwarmConn
from libp2p.peer.id import ID

from swarmharness.errors import PeerLostError
from swarmharness.log_lines import Paced
from swarmharness.network import libp2p_fence
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.network.settings import NetworkSettings
from swarmharness.refusals import Reason, Refusals
from tests.integration.network.worlds import address_of, libp2p_world

PROTOCOLS = ["/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/ipfs/kad/1.0.0", "/meshsub/1.1.0"]


class Pair:
    """Two nodes with DHT and broadcast and one channel; the faults are made in `node`."""

    def __init__(self, node: Any, other: Any, dht: Any, broadcast: Any, heard: list[bytes]) -> None:
        self.node, self.other, self.dht, self.broadcast, self.heard = node, other, dht, broadcast, heard
        self.node_id, self.other_id = (ID.from_base58(one.peer_id) for one in (node, other))
        self.swarm: Any = node.host.get_network()

    def faults(self, place: str) -> int:
        count: int = self.node.refused.counts[f"libp2p {place}"]
        return count

    async def ask_for(self, protocol: str) -> None:
        """Open a stream to the node, which may be reset at any moment, and leave it."""
        with suppress(Exception):  # libp2p raises many kinds
            stream = await self.other.host.new_stream(self.node_id, [TProtocol(protocol)])
            await stream.reset()

    async def answers(self) -> None:
        """Have the node answer a call, over a new connection if need be."""
        while True:
            try:
                assert await self.other.call(self.node.peer_id, "echo", b"here", timeout_s=5) == b"here"
            except PeerLostError:
                await trio.sleep(0.02)
            else:
                return


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; the caller bounds the wait."""
    while not condition():
        await trio.sleep(0.02)


@pytest.fixture(autouse=True)
def _short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libp2p_fence, "BACK_OFF_FIRST_S", 0.05)


@asynccontextmanager
async def pair(listen: str = "/ip4/127.0.0.1/tcp/0") -> AsyncIterator[Pair]:
    heard: list[bytes] = []

    async def echo(request: Request) -> bytes:
        return request.payload

    async def hear(forwarder: object, data: bytes) -> bool:
        heard.append(data)
        return True

    with trio.fail_after(30):
        async with libp2p_world() as world, AsyncExitStack() as stack:
            node = await world.node("node", NetworkSettings(listen=(listen,)))
            other = await world.node("other", NetworkSettings(listen=(listen,)))
            dht = await world.dht(node)
            await world.dht(other)
            broadcasts = [await stack.enter_async_context(Libp2pBroadcast(one)) for one in (node, other)]
            for broadcast in broadcasts:
                broadcast.subscribe("topic", hear)
            for one in (node, other):
                one.handle("echo", echo)
            other.add_addresses(address_of(node))
            two = Pair(node, other, dht, broadcasts[0], heard)
            await two.answers()
            yield two


async def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("a fault")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_handler_that_fails_costs_its_stream_alone(protocol: str) -> None:
    async with pair() as two:
        channel = two.node._peers.channel(two.other.peer_id)
        handlers: Any = two.node.host.get_mux().handlers
        assert TProtocol(protocol) in handlers
        handlers[TProtocol(protocol)] = fail
        await two.ask_for(protocol)
        await until(lambda: two.faults("stream") == 1)
        await two.answers()
        assert two.node._peers.channel(two.other.peer_id) is channel


async def test_a_negotiation_that_fails_costs_its_stream_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as two:
        channel = two.node._peers.channel(two.other.peer_id)
        monkeypatch.setattr(two.node.host.get_mux(), "negotiate", fail)
        await two.ask_for("/ipfs/ping/1.0.0")
        await until(lambda: two.faults("stream") >= 1)
        await two.answers()
        assert two.node._peers.channel(two.other.peer_id) is channel


async def test_a_notifee_that_fails_costs_nothing() -> None:
    class Notifee:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
            return fail

    async with pair() as two:
        two.swarm.register_notifee(Notifee())
        await two.ask_for("/ipfs/ping/1.0.0")
        await two.node._gate.cut(two.other.peer_id)
        await two.answers()


async def test_an_identification_that_fails_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as two:
        host = two.node.host
        monkeypatch.setattr(host._introductions, "learn", fail)
        host.get_peerstore().clear_peerdata(two.other_id)
        host._identified_peers.clear()
        host._identify_inflight.clear()
        host._schedule_identify(two.other_id, reason="a test")
        await until(lambda: two.faults("task") == 1)
        await two.answers()


@pytest.mark.parametrize("step", ["secure_inbound", "upgrade_connection", "add_conn"])
async def test_an_upgrade_that_fails_costs_its_connection_alone(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair() as two:
        owner = {"secure_inbound": two.node._gate, "upgrade_connection": two.swarm.upgrader, "add_conn": two.swarm}
        with monkeypatch.context() as patched:
            patched.setattr(owner[step], step, fail)
            await two.node._gate.cut(two.other.peer_id)
            with pytest.raises(PeerLostError):
                await two.other.call(two.node.peer_id, "echo", b"", timeout_s=5)
        await two.answers()


@pytest.mark.parametrize("part", ["muxer", "connection"])
async def test_a_task_of_a_connection_that_fails_ends_that_connection(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair() as two:
        (connection,) = two.swarm.connections[two.other_id]
        owner, name = (
            (SwarmConn, "_handle_new_streams") if part == "connection" else (type(connection.muxed_conn), "start")
        )
        original = getattr(owner, name)
        failed: list[object] = []

        async def fail_once(self: Any, *arguments: Any) -> Any:
            if not failed:
                failed.append(self)
                self.event_started.set()
                raise RuntimeError("a fault")
            return await original(self, *arguments)

        await two.node._gate.cut(two.other.peer_id)
        monkeypatch.setattr(owner, name, fail_once)
        await two.answers()
        await until(lambda: failed)
        await two.answers()


async def test_a_task_that_a_service_starts_ends_alone() -> None:
    async with pair() as two:
        for service in (two.swarm, two.broadcast._pubsub, two.broadcast._pubsub.router):
            service.manager.run_task(fail)
        await until(lambda: two.faults("task") == 3)
        assert two.faults("service") == 0
        await two.answers()


@pytest.mark.parametrize("part", ["pubsub", "router"])
async def test_broadcasts_are_heard_again_after_a_failure(part: str) -> None:
    async with pair() as two:
        before = two.broadcast._pubsub
        (before if part == "pubsub" else before.router).manager.run_daemon_task(fail)
        await until(lambda: two.faults("service") >= 1)
        await until(lambda: two.broadcast._pubsub not in (None, before))
        number = 0
        while not two.heard:
            number += 1
            await two.broadcast.publish("topic", str(number).encode())
            await trio.sleep(0.1)
        await two.answers()


async def test_the_network_listens_again_at_the_same_address_after_a_failure() -> None:
    async with pair() as two:
        addresses = two.node.addresses
        two.swarm.background_nursery.start_soon(fail)
        await until(lambda: two.faults("service") == 1)
        await two.answers()
        assert two.node.addresses == addresses
        (told,) = two.node.refused.recent({Reason.SERVICE})
        assert "network" in told.text


@pytest.mark.parametrize("listen", ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"])
async def test_what_fails_in_a_listener_costs_one_connection(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pair(listen) as two:
        (listener,) = two.swarm.listeners.values()
        with monkeypatch.context() as patched:
            patched.setattr(listener, "_serve", fail)
            host, port = two.node.addresses[0].split("/")[2:5:2]
            async with await trio.open_tcp_stream(host, int(port)) as stream:
                await until(lambda: two.faults("listener") == 1)
                assert await stream.receive_some() == b""
        await two.node._gate.cut(two.other.peer_id)
        await two.answers()


async def test_a_reader_of_a_dialled_websocket_that_fails_costs_its_connection_alone() -> None:
    async with pair("/ip4/127.0.0.1/tcp/0/ws") as two:
        transport: Any = next(
            one for one in two.swarm.transport_manager.get_transports() if hasattr(one, "_background_nursery")
        )
        transport._background_nursery.start_soon(fail)
        await until(lambda: two.faults("task") == 1)
        await two.answers()


async def test_what_fails_in_a_question_to_the_dht_is_a_question_without_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pair() as two:
        monkeypatch.setattr(two.node.host, "new_stream", fail)
        await two.dht.add_peer(PeerAddress(two.other.peer_id, two.other.addresses))
        await two.dht.provide(bytes(32))
        assert [one.peer_id for one in await two.dht.find_providers(bytes(32), limit=1)] == [two.node.peer_id]
        monkeypatch.undo()
        assert two.faults("DHT") >= 1
        await two.answers()


def throw(error: Exception) -> None:
    raise error


async def test_a_fault_is_logged_as_of_its_kind_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    refused = Refusals()
    fence = Fence(refused)
    with caplog.at_level(logging.ERROR):
        for error in (KeyError("one kind"), KeyError("again"), ValueError("another")):
            with fence.around("stream"):
                raise error
    assert refused.counts["libp2p stream"] == 3
    pace = Paced(lambda: 0.0)
    assert [pace.filter(record) for record in caplog.records] == [True, False, True]


async def test_a_fault_concerns_the_peer_or_the_address_that_it_came_from() -> None:
    refused = Refusals()
    fence = Fence(refused)
    for _ in range(25):
        with fence.around("stream", peer_id="a"):
            throw(KeyError())
        with fence.around("listener", host="192.0.2.7"):
            throw(KeyError())
    assert {one.source for one in refused.attacks()} == {"a", "192.0.2.0/24"}


async def test_the_end_of_a_stream_is_no_fault_and_cancellation_passes() -> None:
    refused = Refusals()
    fence = Fence(refused)
    with fence.around("stream"):
        throw(ExceptionGroup("", [trio.BrokenResourceError(), OSError()]))
    assert not refused.counts
    with fence.around("stream"):
        throw(ExceptionGroup("", [trio.BrokenResourceError(), KeyError()]))
    assert refused.counts["libp2p stream"] == 1
    passed: list[str] = []
    with trio.CancelScope() as scope:
        with fence.around("stream"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        passed.append("the fence held cancellation back")
    assert scope.cancelled_caught
    assert not passed
