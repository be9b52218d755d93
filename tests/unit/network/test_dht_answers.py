"""What a peer of the DHT answers is cut to size before it is worked on."""

from __future__ import annotations

from types import SimpleNamespace

import base58
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from swarmharness.identity import Identity, PeerId
from swarmharness.network.libp2p_dht import Libp2pDht
from swarmharness.network.ports import PeerAddress

BOB = Identity(bytes(31) + b"\x02")
HUGE = b"\x01" * 2**20
NEAR = "/ip4/127.0.0.1/tcp/4001"


class HugeAddress(Multiaddr):  # type: ignore[misc]
    """An address with a peer id of a megabyte, as bytes can hold it; its text would take half an hour."""

    def __init__(self) -> None:
        super().__init__(NEAR)

    def to_bytes(self) -> bytes:
        return HUGE

    def __str__(self) -> str:
        raise AssertionError("its text was worked out")


def test_ids_and_addresses_that_are_too_long_are_left_out() -> None:
    found: dict[PeerId, PeerAddress] = {}
    bob = ID(base58.b58decode(BOB.peer_id))
    dht = SimpleNamespace()
    Libp2pDht._merge(dht, found, [PeerInfo(ID(HUGE), []), PeerInfo(bob, [HugeAddress(), Multiaddr(NEAR)])])  # type: ignore[arg-type]
    assert found == {BOB.peer_id: PeerAddress(BOB.peer_id, (NEAR,))}
