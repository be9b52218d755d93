"""Places for streams: who is refused, whose stream goes, and that no peer gets more by asking often."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmharness.network.stream_places import LASTING, Kind, StreamDrop, StreamLimits, StreamPlaces

FEW = StreamLimits(
    streams_max=8,
    streams_per_peer_max=6,
    negotiating_max=4,
    negotiating_per_peer_max=3,
    channel_streams_max=3,
    channel_streams_per_peer_max=2,
    ping_streams_max=2,
    ping_streams_per_peer_max=2,
)
NOTHING = (None, None)


def open_stream(places: StreamPlaces, key: str, kind: Kind = Kind.NEGOTIATING) -> object:
    """Have a stream come of the peer that is the key's first letter; returns what became of it and of another."""
    came = places.enter(key, key[0])
    return came if came[0] is not None or kind is Kind.NEGOTIATING else places.move(key, kind)


def test_a_peer_has_so_many_streams_and_so_many_of_a_kind() -> None:
    places = StreamPlaces(FEW)
    assert [open_stream(places, f"a{number}") for number in range(3)] == [NOTHING] * 3
    assert open_stream(places, "a3") == (StreamDrop.KIND, None)
    assert places.move("a0", Kind.PING) == NOTHING
    assert places.move("a1", Kind.PING) == NOTHING
    assert places.move("a2", Kind.PING) == (StreamDrop.KIND, None)
    assert places.move("a2", Kind.CHANNEL) == NOTHING
    assert [open_stream(places, f"a{number}") for number in range(4, 7)] == [NOTHING] * 3
    assert open_stream(places, "a7") == (StreamDrop.PEER, None)
    assert places.counts() == {kind: {"ping": 2, "channel": 1, "negotiating": 3}.get(kind, 0) for kind in Kind}


def test_the_oldest_stream_of_who_has_most_gives_way() -> None:
    places = StreamPlaces(FEW)
    for key in ("a0", "a1", "b0", "c0"):
        assert open_stream(places, key) == NOTHING
    assert open_stream(places, "d0") == (None, "a0")


def test_what_is_there_for_a_moment_gives_way_among_equals_but_not_to_who_has_as_many() -> None:
    places = StreamPlaces(FEW)
    for key in ("a0", "b0"):
        assert open_stream(places, key, Kind.PING) == NOTHING
    assert open_stream(places, "c0", Kind.PING) == (None, "a0")
    places.leave("a0")
    assert open_stream(places, "c1", Kind.PING) == (StreamDrop.FULL, None)


def test_a_channel_gives_way_to_nobody_who_would_then_have_as_many() -> None:
    places = StreamPlaces(FEW)
    for key in ("a0", "b0", "c0"):
        assert open_stream(places, key, Kind.CHANNEL) == NOTHING
    assert open_stream(places, "d0", Kind.CHANNEL) == (StreamDrop.FULL, None)
    for key in ("b0", "c0"):
        places.leave(key)
    for key in ("a1", "b1"):
        assert open_stream(places, key, Kind.CHANNEL) == NOTHING
    assert open_stream(places, "d1", Kind.CHANNEL) == (None, "a0")


def test_the_node_has_so_many_streams_of_all_kinds() -> None:
    places = StreamPlaces(replace(FEW, dht_streams_max=9, dht_streams_per_peer_max=9))
    for number in range(4):
        for peer in "ab":
            assert open_stream(places, f"{peer}{number}", Kind.DHT) == NOTHING
    assert open_stream(places, "a9") == (StreamDrop.FULL, None)
    assert open_stream(places, "c0") == (None, "a0")


def test_a_stream_that_is_over_or_unknown_is_no_trouble() -> None:
    places = StreamPlaces(FEW)
    assert places.move("a0", Kind.PING) == NOTHING
    places.leave("a0")
    assert len(places) == 0


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_limits(kind: Kind) -> None:
    most, of_one_peer = StreamLimits().of(kind)
    assert 0 < of_one_peer < most


@given(
    st.lists(
        st.tuples(st.sampled_from(["enter", "move", "leave"]), st.sampled_from("abc"), st.integers(0, 9)), max_size=80
    ),
    st.sampled_from(Kind),
)
def test_no_limit_is_ever_exceeded_and_what_left_leaves_nothing(steps: list[tuple[str, str, int]], other: Kind) -> None:
    """Whatever peers do: each count stays within its limit, and who gives way had as many as the newcomer, at least."""
    places, limits, live = StreamPlaces(FEW), FEW, dict[str, tuple[str, Kind]]()
    for number, (step, peer, which) in enumerate(steps):
        mine = [key for key, (owner, _) in live.items() if owner == peer]
        key = mine[which % len(mine)] if mine else ""
        if step == "leave":
            places.leave(key)
            live.pop(key, None)
            continue
        if step == "enter":
            key, kind = f"{peer}{number}", Kind.NEGOTIATING
            drop, victim = places.enter(key, peer)
        else:
            kind = (Kind.CHANNEL, Kind.PING, other)[which % 3]
            if kind is Kind.NEGOTIATING or live.get(key, ("", kind))[1] is not Kind.NEGOTIATING:
                continue
            drop, victim = places.move(key, kind)
        assert drop is None or victim is None
        if drop is None:
            live[key] = peer, kind
        if isinstance(victim, str):
            owner, its_kind = live.pop(victim)
            places.leave(victim)
            assert owner != peer
            share = sum(one == (owner, kind) for one in live.values()) + 1
            own = sum(one == (peer, kind) for one in live.values())
            assert its_kind is not kind or share >= own + (kind in LASTING)
        for one in Kind:
            most, of_one_peer = limits.of(one)
            owners = [owner for owner, its in live.values() if its is one]
            assert places.counts()[one] == len(owners) <= most
            assert all(owners.count(name) <= of_one_peer for name in "abc")
        assert len(places) == len(live) <= limits.streams_max
    for key in list(live):
        places.leave(key)
    assert len(places) == 0
    assert not any(places.counts().values())
