"""Whatever is put in whatever order, the records stay within their limits and their counts stay right."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.network.provider_records import RECORD_S, Provider, ProviderRecords, RecordLimits

OWN = bytes(38)
LIMITS = RecordLimits(records_max=24, per_key_max=4, per_provider_max=6)
KEYS = st.integers(1, 12).map(lambda number: number.to_bytes(4, "big"))
PEERS = st.integers(1, 30).map(lambda number: number.to_bytes(38, "big"))
NETWORKS = st.sampled_from(["", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"])


def provider(peer: bytes) -> Provider:
    return Provider(peer, (b"address",))


@given(st.lists(st.tuples(KEYS, PEERS, NETWORKS, st.floats(0, 3 * RECORD_S)), max_size=120))
def test_all_limits_hold(puts: list[tuple[bytes, bytes, str, float]]) -> None:
    records = ProviderRecords(OWN, LIMITS)
    for key, peer, network, now_s in sorted(puts, key=lambda one: one[3]):
        kept = records.put(key, provider(peer), network, now_s)
        there = {key: [one.peer for one in records.get(key, 0)] for key, *_ in puts}
        assert kept == (peer in there[key])
        assert len(records) == sum(map(len, there.values())) <= LIMITS.records_max
        assert all(len(found) <= LIMITS.per_key_max for found in there.values())
        counts = Counter(peer for found in there.values() for peer in found)
        assert max(counts.values(), default=0) <= LIMITS.per_provider_max


@given(st.lists(st.tuples(KEYS, PEERS), min_size=1, max_size=80))
def test_a_crowd_of_one_network_does_not_push_out_what_others_keep(puts: list[tuple[bytes, bytes]]) -> None:
    records = ProviderRecords(OWN, LIMITS)
    honest = b"\xff" * 38
    records.put(b"key", provider(honest), "203.0.113.0/24", 0)
    for _, peer in puts:
        records.put(b"key", provider(peer), "192.0.2.0/24", 1)
    for key, peer in puts:
        records.put(key, provider(peer), "192.0.2.0/24", 2)
    assert provider(honest) in records.get(b"key", 3)


@given(KEYS, PEERS, st.floats(0, 1e6))
def test_a_record_ends_unless_it_is_renewed(key: bytes, peer: bytes, renewed_s: float) -> None:
    records = ProviderRecords(OWN, LIMITS)
    records.put(key, provider(peer), "", 0)
    records.put(key, provider(peer), "", renewed_s)
    assert records.get(key, renewed_s + RECORD_S - 1) == [provider(peer)]
    assert records.get(key, renewed_s + RECORD_S + 1) == []
    assert len(records) == 0
