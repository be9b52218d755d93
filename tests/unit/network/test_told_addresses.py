from __future__ import annotations

import pytest

from swarmharness.network.told_addresses import ADDRESSES_MAX, of_use

PUBLIC, PRIVATE, LOOPBACK, LINK = (
    f"/ip4/{host}/tcp/4001" for host in ("8.8.4.4", "192.168.1.7", "127.0.0.1", "169.254.3.4")
)
ALL = (PUBLIC, PRIVATE, LOOPBACK, LINK)


@pytest.mark.parametrize(
    ("teller", "taken"),
    [
        ("8.8.8.8", (PUBLIC,)),
        ("2001:4860:4860::8888", (PUBLIC,)),
        ("", (PUBLIC,)),
        ("10.0.0.3", (PUBLIC, PRIVATE)),
        ("fe80::1%eth0", (PUBLIC, PRIVATE, LINK)),
        ("127.0.0.1", ALL),
        ("::ffff:127.0.0.1", ALL),
    ],
)
def test_a_peer_can_know_of_addresses_as_far_away_as_itself(teller: str, taken: tuple[str, ...]) -> None:
    assert of_use(ALL, teller) == taken


@pytest.mark.parametrize(
    "address",
    [
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/224.0.0.1/tcp/1",
        "/ip4/255.255.255.255/tcp/1",
        "/ip4/8.8.8.8/tcp/0",
        "/ip4/8.8.8.8/tcp/65536",
        "/ip4/8.8.8.8/udp/1/quic-v1",
        "/ip4/8.8.8.8",
        "/ip6/8.8.8.8/tcp/1",
        "/ip6/::/tcp/1",
        "/ip6/::ffff:0.0.0.0/tcp/1",
        "/unix/tmp/socket",
        "/ip4/8.8.8.8/tcp/1/p2p-circuit",
        "",
    ],
)
def test_what_cannot_be_dialled_is_left_out(address: str) -> None:
    assert of_use([address], "127.0.0.1") == ()


def test_names_and_websockets_are_taken() -> None:
    addresses = ("/dns4/node.example/tcp/443/wss", "/ip6/2001:4860:4860::8844/tcp/4002/ws")
    assert of_use(addresses, "8.8.8.8") == addresses


def test_so_many_are_taken_and_none_twice() -> None:
    addresses = [f"/ip4/8.8.8.8/tcp/{port}" for port in range(1, 100)]
    assert of_use([addresses[0], *addresses], "8.8.4.4") == tuple(addresses[:ADDRESSES_MAX])
