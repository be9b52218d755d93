from __future__ import annotations

import re
import socket

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.network.addresses import (
    ADDRESSES_MAX,
    Reach,
    announced,
    check_listen,
    open_to_the_network,
    reach,
    without_peer,
)
from swarmharness.network.own_addresses import Hosts, OwnAddresses

LOOPBACK = frozenset({"127.0.0.1", "::1"})
UP = frozenset({"192.0.2.7", "10.0.0.9", "2001:db8::7"})
HOME = Hosts(UP, UP | LOOPBACK | {"fe80::1"})
NOWHERE = Hosts(frozenset(), LOOPBACK)
EVERY = ("/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001", "/ip4/0.0.0.0/tcp/4002/ws", "/ip6/::/tcp/4002/ws")


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
        advised = re.search(r"choose another port, such as (\d+), which is free now", str(caught.value))
        assert advised
        assert int(advised[1])  # port 0 is no advice: it is another one at every start
        check_listen([f"/ip4/127.0.0.1/tcp/{advised[1]}"])


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="does not have that address"):
        check_listen(["/ip4/192.0.2.200/tcp/0"])


def test_two_listeners_need_two_ports() -> None:
    with pytest.raises(ConfigurationError, match="need different ports"):
        check_listen(["/ip4/127.0.0.1/tcp/45999", "/ip4/127.0.0.1/tcp/45999/ws"])


def test_an_unspecified_host_becomes_the_addresses_of_its_family_and_plain_tcp_comes_first() -> None:
    assert announced(EVERY, HOME.up, HOME.present) == (
        "/ip4/10.0.0.9/tcp/4001",
        "/ip4/192.0.2.7/tcp/4001",
        "/ip6/2001:db8::7/tcp/4001",
        "/ip4/10.0.0.9/tcp/4002/ws",
        "/ip4/192.0.2.7/tcp/4002/ws",
        "/ip6/2001:db8::7/tcp/4002/ws",
    )


def test_without_a_network_an_unspecified_host_is_loopback_until_there_is_one() -> None:
    assert announced(EVERY[:2], NOWHERE.up, NOWHERE.present) == ("/ip4/127.0.0.1/tcp/4001", "/ip6/::1/tcp/4001")
    assert announced(EVERY[:2], HOME.up, HOME.present)[0] == "/ip4/10.0.0.9/tcp/4001"


def test_a_concrete_host_counts_while_the_machine_has_it_and_loopback_always() -> None:
    listening = ("/ip4/192.0.2.7/tcp/4001/ws", "/ip4/127.0.0.1/tcp/4001")
    assert announced(listening, HOME.up, HOME.present) == (listening[1], listening[0])
    assert announced(listening, NOWHERE.up, NOWHERE.present) == (listening[1],)
    assert announced(["/memory/abc"], NOWHERE.up, NOWHERE.present) == ("/memory/abc",)


def test_no_more_addresses_are_announced_than_an_advert_takes_and_every_listener_has_some() -> None:
    many = frozenset(f"10.0.0.{number}" for number in range(1, 40))
    found = announced(EVERY, many, many)
    assert len(found) <= ADDRESSES_MAX
    assert sum(address.endswith("/ws") for address in found) == ADDRESSES_MAX // 4
    assert not [address for address in found if "::1" in address]  # no IPv6 elsewhere is no reason for loopback


@pytest.mark.parametrize(
    ("listening", "hosts", "expected"),
    [
        (EVERY, HOME, Reach.NETWORK),
        (EVERY, NOWHERE, Reach.NO_NETWORK),
        (("/ip4/192.0.2.7/tcp/4001",), HOME, Reach.NETWORK),
        (("/ip4/192.0.2.7/tcp/4001",), NOWHERE, Reach.LOST),
        (("/ip4/127.0.0.1/tcp/4001", "/ip4/127.0.0.1/tcp/4002/ws"), HOME, Reach.LOOPBACK),
        ((), HOME, Reach.NOT_LISTENING),
    ],
)
def test_who_can_reach_a_node(listening: tuple[str, ...], hosts: Hosts, expected: Reach) -> None:
    assert reach(listening, announced(listening, hosts.up, hosts.present)) is expected


def test_a_node_on_loopback_is_opened_on_the_port_that_it_has() -> None:
    assert open_to_the_network(["/ip4/127.0.0.1/tcp/2/ws", "/ip4/127.0.0.1/tcp/34567"]) == "/ip4/0.0.0.0/tcp/34567"
    assert open_to_the_network(["/ip6/::1/tcp/34567/ws"]) == "/ip6/::/tcp/34567/ws"


def test_whoever_watches_is_told_once_of_each_change_of_the_addresses() -> None:
    own, heard = OwnAddresses(), list[tuple[str, ...]]()
    own.watch(lambda: heard.append(own.current))
    assert own.update(EVERY[:1], NOWHERE)
    assert not own.update(EVERY[:1], NOWHERE)
    assert own.update(own.listening, HOME)
    assert heard == [("/ip4/127.0.0.1/tcp/4001",), ("/ip4/10.0.0.9/tcp/4001", "/ip4/192.0.2.7/tcp/4001")]
    assert own.listening == EVERY[:1]


def test_configured_addresses_are_announced_whatever_the_machine_has_by_a_node_that_listens() -> None:
    own = OwnAddresses(["/dns4/example.org/tcp/4001"])
    own.update((), HOME)
    assert not own.current
    own.update(EVERY, NOWHERE)
    assert own.current == ("/dns4/example.org/tcp/4001",)
    assert not own.update(EVERY, HOME)


def test_the_peer_suffix_goes() -> None:
    assert without_peer("/ip4/127.0.0.1/tcp/1/ws/p2p/12D3KooX") == "/ip4/127.0.0.1/tcp/1/ws"
