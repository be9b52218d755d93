"""Fails when a libp2p release moves something private that the adapters touch, and says what then breaks."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys

import libp2p.crypto.serialization as libp2p_keys
import libp2p.host.basic_host as libp2p_basic_host
import libp2p.network.connection.swarm_connection as libp2p_connection
import libp2p.network.swarm as libp2p_swarm
import libp2p.protocol_muxer.generic_selector as libp2p_selector
import trio
import trio_websocket
from libp2p.crypto.keys import KeyType
from libp2p.security.pnet.psk_conn import PskConn
from libp2p.transport.websocket.transport import WebsocketTransport

from swarmharness.network.libp2p_host import NoAutoConnector
from swarmharness.network.libp2p_lean import LeanSession
from swarmharness.network.libp2p_lines import Lines, install_lines
from swarmharness.network.libp2p_link import Link, websocket_stream
from swarmharness.network.libp2p_streams import CHANNEL_PROTOCOL
from swarmharness.network.libp2p_websocket import dial_websocket, install_websocket
from swarmharness.network.libp2p_yamux import YamuxConnection
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.settings import NetworkSettings
from tests.integration.network.worlds import address_of, libp2p_world


def test_the_happy_eyeballs_delay_is_where_the_adapter_sets_it() -> None:
    assert isinstance(libp2p_swarm._HAPPY_EYEBALLS_DELAY, float)
    assert "_HAPPY_EYEBALLS_DELAY" in inspect.getsource(libp2p_swarm.Swarm.dial_peer)


def test_the_connection_logs_through_a_name_that_the_adapter_replaces() -> None:
    assert "logging.debug(" in inspect.getsource(libp2p_connection.SwarmConn.close)


def test_every_negotiation_of_libp2p_reads_bounded_lines() -> None:
    install_lines()
    for module in (libp2p_basic_host, libp2p_selector):
        assert module.MultiselectCommunicator is Lines
        assert "MultiselectCommunicator(" in inspect.getsource(module)


def test_libp2p_dials_websockets_by_a_name_that_the_adapter_replaces() -> None:
    assert "from trio_websocket import wrap_client_stream\n" in inspect.getsource(WebsocketTransport)
    install_websocket()
    assert trio_websocket.wrap_client_stream is dial_websocket


def test_the_keys_that_libp2p_works_out_are_in_the_table_that_the_adapter_shortens() -> None:
    assert "key_type_to_public_key_deserializer[" in inspect.getsource(libp2p_keys.deserialize_public_key)
    assert KeyType.Ed25519.value in libp2p_keys.key_type_to_public_key_deserializer


def test_the_websocket_transport_keeps_a_list_that_the_adapter_empties() -> None:
    assert inspect.iscoroutinefunction(WebsocketTransport._track_connection)


def test_a_connection_with_a_pre_shared_key_wraps_the_raw_one() -> None:
    assert "self._conn = conn" in inspect.getsource(PskConn.__init__)


async def test_connections_run_on_the_short_path_and_nothing_dials_by_itself() -> None:
    async with libp2p_world() as world:
        left, right = await world.node("left"), await world.node("right")
        left.add_addresses(address_of(right))
        await left.connect(right.peer_id, timeout_s=5)
        network = left.host.get_network()
        (connection,) = next(iter(network.connections.values()))
        assert isinstance(connection.muxed_conn, YamuxConnection)
        assert isinstance(connection.muxed_conn.secured_conn, LeanSession)
        assert isinstance(network.auto_connector, NoAutoConnector)
        assert libp2p_swarm._HAPPY_EYEBALLS_DELAY == 0
        stream = await left.host.new_stream(connection.muxed_conn.peer_id, [CHANNEL_PROTOCOL])
        assert isinstance(stream.muxed_stream, YamuxStream)
        await stream.reset()
        assert left._gate._links[right.peer_id]


async def test_the_socket_under_a_websocket_is_found() -> None:
    settings = NetworkSettings(listen=("/ip4/127.0.0.1/tcp/0/ws",))
    seen: list[object] = []

    def over_websocket(connection: object) -> Link:
        seen.append(websocket_stream(connection))
        return original(connection)

    original = Link.over_websocket
    Link.over_websocket = over_websocket  # type: ignore[method-assign]
    try:
        async with libp2p_world() as world:
            left, right = await world.node("left"), await world.node("right", settings)
            left.add_addresses(address_of(right))
            await left.connect(right.peer_id, timeout_s=5)
    finally:
        Link.over_websocket = original  # type: ignore[method-assign]
    assert len(seen) == 2
    assert all(isinstance(stream, trio.SocketStream) for stream in seen)


async def test_libp2p_logs_nothing_unless_asked() -> None:
    async with libp2p_world() as world:
        await world.node("left")
        for name in ("libp2p", "libp2p.network.swarm", "libp2p.network.auto_connector", "libp2p.stream_muxer.yamux"):
            assert logging.getLogger(name).getEffectiveLevel() == logging.CRITICAL


def test_libp2p_loads_on_a_machine_without_a_name_server() -> None:
    program = (
        "import dns.resolver\n"
        "def nobody(self, *_):\n"
        "    raise dns.resolver.NoResolverConfiguration('no nameservers')\n"
        "dns.resolver.Resolver.read_resolv_conf = nobody\n"  # as with an empty /etc/resolv.conf, before a network is up
        "import swarmharness.node.node\n"
        "from multiaddr.resolvers import DNSResolver\n"
        "DNSResolver()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
