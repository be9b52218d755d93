from __future__ import annotations

import socket

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.network.addresses import check_listen, concrete, without_peer

INTERFACES = ["127.0.0.1", "192.0.2.7", "2001:db8::7", "::1"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4001/quic-v1",
        "/ip4/127.0.0.1/tcp/65536",
        "/ip4/127.0.0.1/tcp/x",
        "/ip4/::1/tcp/4001",
        "/ip6/127.0.0.1/tcp/4001",
        "/ip4/300.0.0.1/tcp/4001",
        "/ip4/127.0.0.1/tcp/4001/wss",
        "/ip4/127.0.0.1/tcp/4001\n",
        "/dns4/example.org/tcp/4001",
    ],
)
def test_what_is_no_address_to_listen_on_is_refused_with_an_example(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"write for example /ip4/127\.0\.0\.1/tcp/4001"):
        check_listen([address])


def test_free_addresses_pass() -> None:
    check_listen(["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"])


@pytest.mark.parametrize("reuse_port", [False, True])
def test_a_port_in_use_is_named_with_what_to_do(reuse_port: bool) -> None:
    with socket.socket() as taken:
        if reuse_port:  # as libp2p listens: a second node would silently share the port
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"cannot listen on {address}: the port is in use: stop") as caught:
            check_listen([address])
        assert "0 picks a free one" in str(caught.value)


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not have that address"):
        check_listen(["/ip4/192.0.2.200/tcp/0"])


def test_two_listeners_need_two_ports() -> None:
    with pytest.raises(ConfigurationError, match="need different ports"):
        check_listen(["/ip4/127.0.0.1/tcp/45999", "/ip4/127.0.0.1/tcp/45999/ws"])


def test_an_unspecified_host_becomes_the_interfaces_of_its_family_loopback_last() -> None:
    assert concrete("/ip4/0.0.0.0/tcp/4001", INTERFACES) == ("/ip4/192.0.2.7/tcp/4001", "/ip4/127.0.0.1/tcp/4001")
    assert concrete("/ip6/::/tcp/4001/ws", INTERFACES) == ("/ip6/2001:db8::7/tcp/4001/ws", "/ip6/::1/tcp/4001/ws")


def test_a_concrete_host_stays() -> None:
    assert concrete("/ip4/192.0.2.7/tcp/4001/ws", INTERFACES) == ("/ip4/192.0.2.7/tcp/4001/ws",)
    assert concrete("/memory/abc", INTERFACES) == ("/memory/abc",)


def test_the_peer_suffix_goes() -> None:
    assert without_peer("/ip4/127.0.0.1/tcp/1/ws/p2p/12D3KooX") == "/ip4/127.0.0.1/tcp/1/ws"
