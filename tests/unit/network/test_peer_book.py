"""The peer book: who is evicted, who never is, what of a peer is kept and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError, create_signed_peer_record
from multiaddr import Multiaddr

from swarmharness.network.libp2p_peer_store import BookedPeerStore
from swarmharness.network.peer_book import ADDRESSES_MAX, HEARD_S, PROTOCOLS_MAX, REMEMBERED_S

OWN_KEYS = create_new_key_pair(bytes(32))
OWN_ID = ID.from_pubkey(OWN_KEYS.public_key)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def peer(number: int) -> ID:
    return ID(b"\x12\x20" + number.to_bytes(32, "big"))


def at(port: int) -> Multiaddr:
    return Multiaddr(f"/ip4/10.0.0.1/tcp/{port}")


def book(peers_max: int = 4, *, pinned: tuple[ID, ...] = (), connected: set[ID] | None = None) -> BookedPeerStore:
    there = connected if connected is not None else set()
    return BookedPeerStore(
        OWN_ID, OWN_KEYS, peers_max=peers_max, pinned=pinned, connected=there.__contains__, now_s=Clock()
    )


def test_a_crowd_pushes_out_neither_the_own_key_nor_who_is_configured_or_connected() -> None:
    pinned, connected = peer(1), peer(2)
    kept = book(pinned=(pinned,), connected={connected})
    kept.remember(pinned, [at(1)])
    kept.add_addrs(connected, [at(2)], 120)
    for number in range(100, 5100):
        kept.add_addrs(peer(number), [at(3)], 7200)
    assert len(kept) <= 4 + 1
    assert kept.pubkey(OWN_ID) == OWN_KEYS.public_key
    assert kept.privkey(OWN_ID) == OWN_KEYS.private_key
    assert kept.addrs(pinned) == [at(1)]
    assert kept.addrs(connected) == [at(2)]


def test_who_was_only_heard_of_goes_before_who_this_node_was_told_of() -> None:
    kept = book(2)
    kept.remember(peer(1), [at(1)])
    for number in range(2, 20):
        kept.add_addrs(peer(number), [at(2)], 7200)
    assert kept.has_peer(peer(1))
    kept.remember(peer(30), [at(3)])
    kept.remember(peer(31), [at(3)])
    assert not kept.has_peer(peer(1))
    assert kept.has_peer(peer(30))
    assert kept.has_peer(peer(31))


def test_addresses_are_few_and_short_and_those_that_this_node_was_told_come_first() -> None:
    kept = book()
    kept.add_addrs(peer(1), [at(port) for port in range(1000, 2000)], 7200)
    assert len(kept.addrs(peer(1))) == ADDRESSES_MAX
    kept.remember(peer(1), [at(5)])
    assert kept.addrs(peer(1))[0] == at(5)
    assert len(kept.addrs(peer(1))) == ADDRESSES_MAX
    kept.clear_addrs(peer(1))  # as identify does before it adds what the peer says
    assert kept.addrs(peer(1)) == [at(5)]
    long = Multiaddr("/ip4/10.0.0.1/tcp/1" * 100)
    kept.add_addrs(peer(2), [long], 7200)
    assert kept.addrs(peer(2)) == []


def test_an_address_expires_but_not_while_the_peer_is_connected() -> None:
    clock, connected = Clock(), {peer(1)}
    kept = BookedPeerStore(OWN_ID, OWN_KEYS, peers_max=4, connected=connected.__contains__, now_s=clock)
    for number in (1, 2):
        kept.remember(peer(number), [at(1)])
        kept.add_addrs(peer(number), [at(2)], 10**9)
    clock.now_s = HEARD_S
    assert kept.addrs(peer(2)) == [at(1)]
    clock.now_s = 10 * REMEMBERED_S
    assert kept.addrs(peer(2)) == []
    assert kept.addrs(peer(1)) == [at(1), at(2)]
    connected.clear()
    kept.left(peer(1))
    clock.now_s += HEARD_S
    assert kept.addrs(peer(1)) == [at(1)]
    clock.now_s += REMEMBERED_S
    assert kept.addrs(peer(1)) == []


def test_protocols_are_bounded_and_metadata_is_not_kept() -> None:
    kept = book()
    kept.add_protocols(peer(1), [f"/p/{number}" for number in range(10_000)])
    kept.add_protocols(peer(1), ["x" * 10_000])
    assert len(kept.get_protocols(peer(1))) == PROTOCOLS_MAX
    assert kept.supports_protocols(peer(1), ["/p/1", "/q"]) == ["/p/1"]
    kept.put(peer(1), "agent", "x")
    with pytest.raises(PeerStoreError):
        kept.get(peer(1), "agent")


def test_nobody_gives_this_node_another_key_and_it_takes_nobodys_private_one() -> None:
    kept, other = book(), create_new_key_pair(bytes([1] * 32))
    with pytest.raises(PeerStoreError):
        kept.add_pubkey(OWN_ID, other.public_key)
    with pytest.raises(PeerStoreError):
        kept.add_privkey(ID.from_pubkey(other.public_key), other.private_key)
    kept.clear_keydata(OWN_ID)
    kept.clear_peerdata(OWN_ID)
    assert kept.privkey(OWN_ID) == OWN_KEYS.private_key


def test_a_signed_record_replaces_what_was_heard_unless_a_newer_one_is_known() -> None:
    kept, keys = book(), create_new_key_pair(bytes([1] * 32))
    signer = ID.from_pubkey(keys.public_key)
    old = create_signed_peer_record(signer, [at(1)], keys.private_key)
    new = create_signed_peer_record(signer, [at(2)], keys.private_key)
    assert kept.consume_peer_record(new, 7200)
    assert not kept.consume_peer_record(old, 7200)
    assert kept.addrs(signer) == [at(2)]
    assert kept.get_peer_record(signer) is new
    forged = create_signed_peer_record(peer(9), [at(3)], keys.private_key)
    assert not kept.consume_peer_record(forged, 7200)
    assert not kept.has_peer(peer(9))


@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["remember", "heard", "protocols", "clear"]))))
def test_however_it_is_used_it_stays_within_its_limit_and_keeps_who_is_pinned(steps: list[tuple[int, str]]) -> None:
    kept = book(3, pinned=(peer(0),), connected={peer(1)})
    for number, step in steps:
        match step:
            case "remember":
                kept.remember(peer(number), [at(1)])
            case "heard":
                kept.add_addrs(peer(number), [at(2)], 60)
            case "protocols":
                kept.add_protocols(peer(number), ["/p"])
            case "clear":
                kept.clear_peerdata(peer(number))
        assert len(kept) <= 3 + 1
        assert kept.has_peer(OWN_ID)
        assert kept.has_peer(peer(0))
