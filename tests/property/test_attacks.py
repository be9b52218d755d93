"""`Attacks` against an exact count of everything."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.attacks import COST_US, NAMES_MAX, PEERS_APART_MAX, Action, Attacks, network_of

PEERS = 200
noted = st.tuples(st.integers(0, PEERS - 1), st.sampled_from(["malformed", "frame"]), st.integers(1, 60))


def host_of(peer: int) -> str:
    return f"10.0.{peer % 50}.{peer}"


@given(st.lists(noted, max_size=300))
def test_no_more_is_told_than_happened_and_of_no_more_names_than_there_is_room_for(
    refusals: list[tuple[int, str, int]],
) -> None:
    attacks = Attacks()
    exact: Counter[tuple[str, str]] = Counter()
    for peer, reason, count in refusals:
        for _ in range(count):
            attacks.note(reason, str(peer), host_of(peer), Action.REFUSED, 0)
        exact[str(peer), reason] += count
        exact[network_of(host_of(peer)), reason] += count
    found = attacks.current(0)
    assert len(found) <= len(attacks) <= NAMES_MAX
    for one in found:
        assert 20 <= one.count <= exact[one.source, one.reason]
    told = Counter[str]()
    for one in found:
        told[one.reason] += one.count
    for reason, count in told.items():
        assert count <= sum(n for (name, noted_as), n in exact.items() if noted_as == reason and "/" not in name)


@given(st.lists(st.integers(0, 3), min_size=100, max_size=400), st.integers(0, 1_000_000))
def test_a_flood_of_new_names_hides_nobody_who_has_a_share_of_it(turns: list[int], every_us: int) -> None:
    """Three names in four are new and come once; the attackers share the fourth."""
    attacks = Attacks()
    exact = Counter[str]()
    for number, attacker in enumerate(turns):
        now_us = number * every_us
        for new in range(3):
            attacks.note("malformed", f"{number}.{new}", f"11.{number % 250}.{new}.1", Action.REFUSED, now_us)
        attacks.note("malformed", f"attacker {attacker}", f"10.0.{attacker}.1", Action.REFUSED, now_us)
        exact[f"attacker {attacker}"] += 1
    kept = {name for name, _ in attacks._peers.names}
    assert kept >= {name for name, count in exact.items() if count > 4 * len(turns) / (NAMES_MAX // 2)}


@given(st.lists(st.integers(COST_US, 10 * COST_US), max_size=200))
def test_nobody_who_is_refused_no_more_than_six_times_a_minute_attacks(pauses_us: list[int]) -> None:
    attacks, now_us = Attacks(), 0
    for pause_us in pauses_us:
        attacks.note("malformed", "peer", "10.0.0.1", Action.REFUSED, now_us)
        assert attacks.current(now_us) == []
        now_us += pause_us


@given(st.lists(st.integers(0, 20), min_size=21, max_size=400), st.integers(21, 100))
def test_a_network_has_few_lines_however_many_peers_it_has(peers: list[int], each: int) -> None:
    attacks = Attacks()
    for peer in peers:
        for _ in range(each):
            attacks.note("malformed", str(peer), "10.0.0.1", Action.REFUSED, 0)
    found = attacks.current(0)
    assert 1 <= len(found) <= PEERS_APART_MAX + 1
    assert sum(one.count for one in found) == len(peers) * each
