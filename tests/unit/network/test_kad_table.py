from __future__ import annotations

from collections import Counter

from swarmharness.network.kad_table import PEERS_PER_NETWORK_MAX, K, KadTable, nearest, place

OWN = bytes(38)


def peers(count: int) -> list[bytes]:
    return [number.to_bytes(38, "big") for number in range(1, count + 1)]


def distance_bits(peer: bytes) -> int:
    return (place(peer) ^ place(OWN)).bit_length()


def test_a_bucket_takes_so_many_and_keeps_those_that_came_first() -> None:
    table = KadTable(OWN)
    for peer in peers(2_000):
        table.note(peer, "", 0)
    far = [peer for peer in peers(2_000) if distance_bits(peer) == 256]
    assert [peer for peer in peers(2_000) if peer in table and distance_bits(peer) == 256] == far[:K]
    assert max(Counter(distance_bits(peer) for peer in peers(2_000) if peer in table).values()) == K


def test_one_network_has_a_share_of_each_bucket() -> None:
    table = KadTable(OWN)
    for peer in peers(200):
        table.note(peer, "192.0.2.0/24", 0)
    counts = Counter(distance_bits(peer) for peer in peers(200) if peer in table)
    assert set(counts.values()) <= set(range(1, PEERS_PER_NETWORK_MAX + 1))
    assert counts[256] == PEERS_PER_NETWORK_MAX


def test_who_does_not_answer_makes_room() -> None:
    table = KadTable(OWN)
    far = [peer for peer in peers(200) if distance_bits(peer) == 256]
    for peer in far:
        table.note(peer, "", 0)
    assert far[K] not in table
    table.forget(far[3])
    assert table.note(far[K], "", 1)
    assert far[3] not in table


def test_the_own_id_is_in_no_table() -> None:
    table = KadTable(OWN)
    assert not table.note(OWN, "", 0)
    assert len(table) == 0


def test_the_closest_are_those_of_all_buckets() -> None:
    table = KadTable(OWN)
    for peer in peers(50):
        table.note(peer, "", 0)
    there = [peer for peer in peers(50) if peer in table]
    assert table.closest(b"key", 7) == nearest(there, b"key", 7)


def test_parts_of_which_nothing_was_heard_are_named() -> None:
    table = KadTable(OWN)
    far, near = (next(peer for peer in peers(200) if distance_bits(peer) == bits) for bits in (256, 252))
    table.note(far, "", 0)
    table.note(near, "", 100)
    assert table.unseen(50) == [far]
    table.note(far, "", 60)
    assert table.unseen(50) == []
