"""What a peer says of itself is cut to size before it is worked on."""

from __future__ import annotations

import pytest
from libp2p.identity.identify.pb.identify_pb2 import Identify
from multiaddr import Multiaddr

from swarmharness.network.libp2p_introductions import cut_down

PUBLIC, PRIVATE, NAME = "/ip4/8.8.4.4/tcp/4001", "/ip4/192.168.1.7/tcp/80", "/dns4/node.example/tcp/443/wss"


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("8.8.8.8", [PUBLIC, NAME]),
        ("", [PUBLIC, NAME]),
        ("192.168.1.9", [PUBLIC, PRIVATE, NAME]),
        ("127.0.0.1", [PUBLIC, PRIVATE, NAME]),
    ],
)
def test_nobody_on_the_internet_has_an_address_at_home(host: str, kept: list[str]) -> None:
    message = Identify(listen_addrs=[Multiaddr(one).to_bytes() for one in (PUBLIC, PRIVATE, NAME)])
    message.listen_addrs.append(b"\xff" * 300)
    cut_down(message, host)
    assert [str(Multiaddr(one)) for one in message.listen_addrs] == kept
