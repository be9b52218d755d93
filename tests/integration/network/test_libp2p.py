"""What only real sockets show: addresses, WebSocket, dead peers, reconnection, clean ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
import trio

from swarmharness.errors import ConfigurationError, DeadlineError, PeerLostError
from swarmharness.identity import PeerId
from swarmharness.network import libp2p_transport
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_streams import CHANNEL_PROTOCOL
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.limits import Limits
from swarmharness.network.own_addresses import Hosts
from swarmharness.network.ports import PeerAddress, PeerEvent, Request
from swarmharness.network.settings import NetworkSettings
from swarmharness.protocol.codec import encode
from swarmharness.protocol.frame import FrameKind, encode_frame
from swarmharness.protocol.handshake import Hello
from swarmharness.refusals import Reason
from tests.integration.network.worlds import address_of, identity, libp2p_world

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the socket options and signals of Linux")

_SERVER = """
import sys, trio
from swarmharness.network.libp2p_broadcast import Libp2pBroadcast
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.settings import NetworkSettings
from tests.integration.network.worlds import identity

async def echo(request):
    return request.payload

async def main():
    async with Libp2pTransport(NetworkSettings(listen=(sys.argv[1],)), identity("server")) as transport:
        transport.handle("echo", echo)
        print(transport.addresses[0], flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


async def echo(request: Request) -> bytes:
    return request.payload


@contextmanager
def server(listen: str = "/ip4/127.0.0.1/tcp/0") -> Iterator[tuple[subprocess.Popen[str], PeerAddress]]:
    """Another process that answers `echo`."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER, listen], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, PeerAddress(identity("server").peer_id, (process.stdout.readline().strip(),))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def test_the_peer_id_is_that_of_the_identity() -> None:
    async with libp2p_world() as world:
        node = await world.node("left")
        assert node.host.get_id().to_base58() == identity("left").peer_id == node.peer_id


@pytest.mark.parametrize("psk_hex", ["", "ab" * 32])
async def test_calls_work_over_websocket_too(psk_hex: str) -> None:
    settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0/ws",), psk_hex=psk_hex)
    async with libp2p_world() as world:
        left, right = await world.node("left", settings), await world.node("right", settings)
        assert right.addresses[0].endswith("/ws")
        left.add_addresses(address_of(right))
        right.handle("echo", echo)
        payload = bytes(range(256)) * 4000
        assert await left.call(right.peer_id, "echo", payload, timeout_s=20) == payload


async def test_a_proxy_in_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks5://127.0.0.1:9")
    settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0/ws",))
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right", settings)
        left.add_addresses(address_of(right))
        await left.connect(right.peer_id, timeout_s=5)
    assert capsys.readouterr() == ("", "")


async def test_addresses_follow_the_machine_and_what_was_connected_by_a_lost_one_is_dialled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, elsewhere = Hosts(frozenset(), frozenset({"127.0.0.1"})), Hosts(frozenset(), frozenset({"192.0.2.9"}))
    has = home
    monkeypatch.setattr(libp2p_transport, "LOOK_S", 0.02)
    monkeypatch.setattr(libp2p_transport, "read_hosts", lambda: has)
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        right.handle("echo", echo)
        left.add_addresses(address_of(right))
        await left.connect(right.peer_id, timeout_s=5)
        events: list[PeerEvent] = []
        left.watch(events.append)
        has = elsewhere  # loopback has gone, as far as the hosts know
        with trio.fail_after(10):
            while not events:
                await trio.sleep(0.01)
        has = home
        with trio.fail_after(20):
            while right.peer_id not in left.connected():
                await trio.sleep(0.01)
        assert await left.call(right.peer_id, "echo", b"again", timeout_s=5) == b"again"


async def test_unspecified_addresses_are_never_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    # not bound here: binding to all interfaces is not for tests
    async with Libp2pTransport(NetworkSettings(), identity("left")) as node:
        node._own.update(["/ip4/0.0.0.0/tcp/4001"], Hosts(frozenset({"192.0.2.7"}), frozenset({"127.0.0.1"})))
        assert [str(address) for address in node.host.get_addrs()] == [
            f"/ip4/192.0.2.7/tcp/4001/p2p/{node.peer_id}"  # what identify and the DHT tell others
        ]


async def test_configured_announcements_replace_the_bound_addresses() -> None:
    async with libp2p_world() as world:
        node = await world.node("left", NetworkSettings(announce=("/ip4/203.0.113.5/tcp/4001",)))
        assert node.addresses == ("/ip4/203.0.113.5/tcp/4001",)


async def test_a_port_in_use_is_a_configuration_error_with_nothing_around_it() -> None:
    async with libp2p_world() as world:
        node = await world.node("left")
        with pytest.raises(ConfigurationError, match="port is in use"):
            async with Libp2pTransport(NetworkSettings(listen=node.addresses), identity("right")):
                raise AssertionError


@pytest.mark.parametrize("psk_hex", ["abc", "zz" * 32, "ab" * 31])
async def test_a_malformed_pre_shared_key_is_a_configuration_error(psk_hex: str) -> None:
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        Libp2pTransport(NetworkSettings(psk_hex=psk_hex), identity("left"))


async def test_an_error_in_the_body_leaves_as_it_is() -> None:
    with pytest.raises(ConfigurationError, match=r"^mine$"):
        async with Libp2pTransport(NetworkSettings(), identity("left")):
            raise ConfigurationError("mine")


async def test_every_address_is_tried_until_one_answers() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(
            PeerAddress(
                right.peer_id,
                ("/ip4/127.0.0.1/tcp/9", "not an address", "/ip4/127.0.0.1/tcp/9/ws", *right.addresses),
            )
        )
        await left.connect(right.peer_id, timeout_s=10)


async def test_whoever_answers_with_another_key_is_not_the_peer() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        victim = identity("victim").peer_id
        left.add_addresses(PeerAddress(victim, right.addresses))
        with pytest.raises(PeerLostError, match="cannot reach"):
            await left.connect(victim, timeout_s=10)
        assert left.connected() == ()


async def test_a_host_that_speaks_something_else_is_not_a_peer() -> None:
    async with libp2p_world() as world, trio.open_nursery() as nursery:

        async def answer(stream: trio.SocketStream) -> None:
            with pytest.MonkeyPatch.context():
                await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10)
                await trio.sleep_forever()

        listeners = await nursery.start(trio.serve_tcp, answer, 0)
        port = listeners[0].socket.getsockname()[1]
        left = await world.node("left", NetworkSettings(dial_timeout_s=1))
        stranger = identity("stranger").peer_id
        left.add_addresses(PeerAddress(stranger, (f"/ip4/127.0.0.1/tcp/{port}",)))
        with pytest.raises(PeerLostError):
            await left.connect(stranger, timeout_s=10)
        nursery.cancel_scope.cancel()


async def test_garbage_on_the_listening_port_harms_nobody() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(address_of(right))
        right.handle("echo", echo)
        port = int(right.addresses[0].split("/")[4])
        for garbage in (b"", b"\x00" * 100, os.urandom(5000), b"\x13/multistream/1.0.0\n\x07/noise\n" + bytes(500)):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            with trio.move_on_after(2):
                await stream.send_all(garbage)
            await stream.aclose()
        assert await left.call(right.peer_id, "echo", b"fine", timeout_s=5) == b"fine"


async def test_a_call_deadline_includes_the_dial() -> None:
    with socket.socket() as silent:  # accepts in the kernel, and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        async with libp2p_world() as world:
            left = await world.node("left")
            stranger = identity("stranger").peer_id
            left.add_addresses(PeerAddress(stranger, (f"/ip4/127.0.0.1/tcp/{silent.getsockname()[1]}",)))
            with pytest.raises(DeadlineError, match=r"within 0\.3 s"):
                await left.call(stranger, "echo", b"", timeout_s=0.3)


@LINUX
async def test_every_socket_notices_a_dead_link() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(address_of(right))
        await left.connect(right.peer_id, timeout_s=5)
        for node, peer in ((left, right), (right, left)):
            (link,) = node._gate._links[peer.peer_id]
            options = link._socket
            assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000
            assert options.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert options.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5


async def test_a_cut_connection_is_restored_without_a_call() -> None:
    settings = NetworkSettings(reconnect_first_s=0.05)
    async with libp2p_world() as world:
        left, right = await world.node("left", settings), await world.node("right")
        left.add_addresses(address_of(right))
        await left.connect(right.peer_id, timeout_s=5)
        changes: list[bool] = []
        back = trio.Event()

        def note(event: PeerEvent) -> None:
            changes.append(event.connected)
            if event.connected:
                back.set()

        left.watch(note)
        await left._gate.cut(right.peer_id)
        with trio.fail_after(10):
            await back.wait()
        assert changes == [False, True]


async def test_cancelling_large_calls_leaves_the_connection_whole() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(address_of(right))
        right.handle("echo", echo)
        await left.connect(right.peer_id, timeout_s=5)
        for delay_s in (0.001, 0.003, 0.01, 0.03):
            with trio.move_on_after(delay_s):
                await left.call(right.peer_id, "echo", bytes(20_000_000), timeout_s=20)
            assert await left.call(right.peer_id, "echo", b"whole", timeout_s=5) == b"whole"
        assert left.connected() == (right.peer_id,)
        payload = os.urandom(1_000_000)
        assert await left.call(right.peer_id, "echo", payload, timeout_s=20) == payload


async def test_more_inbound_connections_than_slots_may_come_over_time() -> None:
    async with libp2p_world() as world:
        right = await world.node("right")
        limiter = right.host.get_network()._inbound_limiter
        for number in range(3):
            async with Libp2pTransport(NetworkSettings(listen=()), identity(f"client-{number}")) as client:
                client.add_addresses(address_of(right))
                await client.connect(right.peer_id, timeout_s=5)
        with trio.fail_after(5):
            while limiter.borrowed_tokens:
                await trio.sleep(0.01)


@pytest.mark.processes
@LINUX
async def test_n3_a_suspended_process_is_noticed() -> None:
    with server() as (process, address):
        async with libp2p_world() as world:
            node = await world.node("left")
            node.add_addresses(address)
            assert await node.call(address.peer_id, "echo", b"x", timeout_s=5) == b"x"
            gone = trio.Event()
            node.watch(lambda event: None if event.connected else gone.set())
            process.send_signal(signal.SIGSTOP)
            try:
                with pytest.raises(PeerLostError, match="stopped answering"):
                    await node.call(address.peer_id, "echo", b"x", timeout_s=30)
                assert gone.is_set()
            finally:
                process.send_signal(signal.SIGCONT)


@pytest.mark.processes
@LINUX
async def test_a_killed_process_is_noticed_and_found_again_when_it_is_back() -> None:
    async with libp2p_world() as world:
        node = await world.node("left", NetworkSettings(reconnect_first_s=0.2))
        events: list[bool] = []
        node.watch(lambda event: events.append(event.connected))
        with server() as (process, address):
            node.add_addresses(address)
            await node.connect(address.peer_id, timeout_s=5)
            process.kill()
            with trio.fail_after(5):
                while events != [True, False]:
                    await trio.sleep(0.01)
        with server(address.addresses[0]), trio.fail_after(20):
            while events[-1] is not True:
                await trio.sleep(0.01)
            assert await node.call(address.peer_id, "echo", b"back", timeout_s=5) == b"back"


@pytest.mark.processes
async def test_nothing_is_written_to_stdout_or_stderr() -> None:
    code = (
        _SERVER.replace("await trio.sleep_forever()", "raise SystemExit(0)")
        .replace("print(", "str(")
        .replace(", flush=True", "")
    )
    ended = await trio.run_process(
        [sys.executable, "-W", "error", "-c", code, "/ip4/127.0.0.1/tcp/0"],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == (b"", b"", 0)


async def test_two_nodes_with_one_key_are_found_out_by_whom_they_meet_and_both_are_told() -> None:
    async with libp2p_world() as world:
        middle = await world.node("middle")
        async with AsyncExitStack() as stack:
            first, second, third = [
                await stack.enter_async_context(Libp2pTransport(NetworkSettings(), identity("twin"))) for _ in range(3)
            ]
            with trio.fail_after(60):
                for node in (first, second):
                    node.add_addresses(address_of(middle))
                    await node.connect(middle.peer_id, timeout_s=5)
                await until(lambda: first.refused.recent({Reason.TWIN}))
                (told,) = first.refused.recent({Reason.TWIN})
                assert told.text.startswith(f"{middle.peer_id} says that another node uses this node's key: stop one")
                (seen,) = middle.refused.recent({Reason.TWIN})
                assert (seen.peer_id, seen.count) == (first.peer_id, 1)
                assert middle.connected() == (second.peer_id,)
                assert not second.refused.recent({Reason.TWIN})
                with pytest.raises(PeerLostError, match="another node with your key has connected; stop one"):
                    await first.connect(middle.peer_id, timeout_s=5)
                # A third node with the key pushes the second out, as the first would after its rest.
                third.add_addresses(address_of(middle))
                await third.connect(middle.peer_id, timeout_s=5)
                await until(lambda: second.refused.recent({Reason.TWIN}))


async def test_a_node_that_lost_its_channel_and_comes_back_is_no_twin() -> None:
    async with libp2p_world() as world:
        middle = await world.node("middle")
        for _ in range(2):
            async with Libp2pTransport(NetworkSettings(), identity("twin")) as node:
                node.add_addresses(address_of(middle))
                await node.connect(middle.peer_id, timeout_s=5)
                await node.host.get_network().close_peer(middle.host.get_id())
                with trio.fail_after(60):
                    await until(lambda: not node.connected())
                    await until(lambda: node.connected())
        with trio.fail_after(60):
            await until(lambda: not middle.connected())
        assert not middle.refused.counts


async def until(condition: Callable[[], object]) -> None:
    """Wait until it holds; the caller bounds the wait."""
    while not condition():
        await trio.sleep(0.02)


async def test_who_speaks_another_version_is_named_with_both() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(address_of(right))
        channel = await left.host.new_stream(right.host.get_id(), [CHANNEL_PROTOCOL])
        await channel.write(encode_frame(FrameKind.HELLO, 0, encode(Hello((2, 3), "from tomorrow", 1 << 20))))
        with trio.fail_after(30):
            await until(lambda: right.refused.recent({Reason.HELLO}))
        (told,) = right.refused.recent({Reason.HELLO})
        assert told.text == (
            f"{left.peer_id}: the peer speaks channel versions [2, 3], this node [1]: upgrade the older"
        )
        assert right.refusals() == {"hello": 1}


async def test_however_many_peers_are_lost_few_are_dialled_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that fails for a moment takes every channel at once."""
    settings = NetworkSettings(limits=Limits(dials_max=8, reconnects_max=3), reconnect_attempts=1, reconnect_first_s=0)
    dialled: set[str] = set()
    now = most = 0

    async def open_stream(peer_id: str, protocol: str) -> object:
        nonlocal now, most
        now += 1
        most = max(now, most)
        await trio.sleep(0.02)
        now -= 1
        dialled.add(peer_id)
        raise PeerLostError("nobody is there")

    async with libp2p_world() as world:
        node = await world.node("node", settings)
        sessions = node._sessions
        monkeypatch.setattr(sessions.dialler, "open_stream", open_stream)
        lost = [identity(f"peer {number}").peer_id for number in range(30)]
        async with trio.open_nursery() as nursery:
            for peer_id in lost:
                nursery.start_soon(sessions._reconnect, peer_id)
        assert most == 3
        async with trio.open_nursery() as nursery:
            for peer_id in lost:
                nursery.start_soon(expect_lost, node, peer_id)
        assert most == 8
        assert dialled == set(lost)


async def expect_lost(node: Any, peer_id: PeerId) -> None:
    with pytest.raises(PeerLostError):
        await node.connect(peer_id, timeout_s=10)


async def test_what_was_broadcast_before_anybody_heard_it_can_be_said_again() -> None:
    heard = trio.Event()

    async def hear(sender: object, data: bytes) -> bool:
        heard.set()
        return True

    settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0",))
    async with (
        Libp2pTransport(settings, identity("left")) as left,
        Libp2pTransport(settings, identity("right")) as right,
        Libp2pBroadcast(left) as speaker,
        Libp2pBroadcast(right) as listener,
    ):
        speaker.subscribe("topic", hear)
        listener.subscribe("topic", hear)
        await speaker.publish("topic", b"a word")
        left.add_addresses(PeerAddress(right.peer_id, right.addresses))
        await left.connect(right.peer_id, timeout_s=5)
        with trio.fail_after(30):
            while not heard.is_set():
                await speaker.publish("topic", b"a word")
                with trio.move_on_after(0.2):
                    await heard.wait()
