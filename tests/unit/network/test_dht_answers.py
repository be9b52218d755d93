"""What a peer of the DHT answers is cut to size before it is worked on."""

from __future__ import annotations

from libp2p.kad_dht.pb.kademlia_pb2 import Message
from multiaddr import Multiaddr

from swarmharness.network.kad_table import K
from swarmharness.network.libp2p_kad_wire import PEER_BYTES, add_peer, told_peers

NEAR = Multiaddr("/ip4/127.0.0.1/tcp/4001").to_bytes()
HUGE = b"\x04\x7f\x00\x00\x01\xa5\x03" + b"\x80\x80\x40" + bytes(2**20)
"""An address with a peer id of a megabyte, as bytes can hold it; its text would take half an hour."""


def test_ids_and_addresses_that_are_too_long_are_left_out() -> None:
    message = Message()
    add_peer(message.closerPeers, bytes(2**20), [NEAR])
    add_peer(message.closerPeers, bytes(38), [HUGE, b"rubbish", NEAR])
    assert told_peers(message.closerPeers, "127.0.0.1") == [(bytes(38), [Multiaddr(NEAR)])]


def test_of_a_thousand_peers_as_many_are_looked_at_as_were_asked_for() -> None:
    message = Message()
    for number in range(1_000):
        add_peer(message.closerPeers, number.to_bytes(38, "big"), [NEAR] * 100)
    told = told_peers(message.closerPeers, "127.0.0.1")
    assert [len(addresses) for _, addresses in told] == [1] * K
    assert {len(peer) for peer, _ in told} <= PEER_BYTES
