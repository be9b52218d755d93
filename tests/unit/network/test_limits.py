"""Places for connections: who is refused, who goes first, who has had its time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmharness.address_prefixes import prefixes
from swarmharness.network.limits import Drop, Limits, Places

FEW = Limits(
    connections_max=4,
    connections_reserved=1,
    connections_per_address_max=2,
    connections_per_network_max=3,
    half_open_max=4,
    half_open_per_address_max=2,
    half_open_per_network_max=3,
)


def settle(places: Places, key: str, host: str = "127.0.0.1", *, now_s: float = 0, known: bool = False) -> object:
    """Have a connection come and prove that it is the peer of its name; returns what became of it and of another."""
    drop, victim = places.arrive(key, host, now_s)
    assert drop is None
    assert victim is None
    return places.secured(key, f"peer {key}", now_s, known=known)


def test_half_open_connections_are_few_of_one_address_and_of_one_network() -> None:
    places = Places(FEW)
    assert places.arrive("a", "10.0.0.1", 0) == (None, None)
    assert places.arrive("b", "10.0.0.1", 0) == (None, None)
    assert places.arrive("c", "10.0.0.1", 0) == (Drop.HALF_OPEN_ADDRESS, None)
    assert places.arrive("d", "10.0.0.2", 0) == (None, None)
    assert places.arrive("e", "10.0.0.3", 0) == (Drop.HALF_OPEN_NETWORK, None)
    places.leave("a")
    assert places.arrive("f", "10.0.0.3", 0) == (None, None)


def test_when_all_half_open_places_are_taken_the_oldest_of_the_busiest_network_goes() -> None:
    places = Places(FEW)
    for now_s, (key, host) in enumerate([("a", "10.0.1.1"), ("b", "10.0.2.1"), ("c", "10.0.2.2"), ("d", "10.0.3.1")]):
        assert places.arrive(key, host, now_s) == (None, None)
    assert places.arrive("e", "10.0.4.1", 9) == (None, "b")
    places.leave("b")
    assert places.half_open == 4


def test_a_connection_says_whose_it_is_as_far_as_it_is_known() -> None:
    places = Places(FEW)
    places.arrive("a", "10.0.0.1", 0)
    places.dialled("b", "", 0)
    assert (places.whose("a"), places.whose("b"), places.whose("nobody")) == (("", "10.0.0.1"), ("", ""), ("", ""))
    assert [places.is_shaking_hands(key) for key in ("a", "b", "nobody")] == [True, False, False]
    places.secured("a", "peer", 0, known=False)
    assert places.whose("a") == ("peer", "10.0.0.1")
    assert not places.is_shaking_hands("a")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "", "no address"])
def test_addresses_of_this_machine_are_counted_only_if_configured(host: str) -> None:
    places = Places(replace(FEW, half_open_max=100))
    for number in range(50):
        assert places.arrive(number, host, 0) == (None, None)
    assert (prefixes(host, loopback=True) == ("", "")) == (host in ("", "no address"))


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24")),
        ("::ffff:192.0.2.77", ("192.0.2.77/32", "192.0.2.0/24")),
        ("2001:db8:1:2ab:3::4", ("2001:db8:1:2ab:3::4/128", "2001:db8:1:200::/56")),
        ("fe80::1%eth0", ("fe80::1/128", "fe80::/56")),
    ],
)
def test_an_address_is_counted_under_itself_and_its_network(host: str, expected: tuple[str, str]) -> None:
    assert prefixes(host, loopback=False) == expected


def test_strangers_of_one_address_are_few_and_a_known_peer_is_taken_all_the_same() -> None:
    places = Places(replace(FEW, connections_max=100))
    assert settle(places, "a", "10.0.0.1") == (None, None)
    assert settle(places, "b", "10.0.0.1") == (None, None)
    assert settle(places, "c", "10.0.0.1") == (Drop.ADDRESS, None)
    places.leave("c")
    assert settle(places, "d", "10.0.0.1", known=True) == (None, None)
    assert settle(places, "e", "10.0.0.9") == (Drop.NETWORK, None)


def test_strangers_cannot_take_the_reserved_places_and_the_least_useful_one_goes() -> None:
    places = Places(FEW)
    for number, key in enumerate("abc"):
        assert settle(places, key, now_s=number) == (None, None)
    places.used("a", 5)
    places.serves("peer b", by=1)
    assert settle(places, "d", now_s=6) == (None, "c")  # it never said anything
    places.leave("c")
    places.serves("peer d", by=1)
    assert settle(places, "e", now_s=7) == (None, "a")  # it was only used for look-ups
    places.leave("a")
    places.serves("peer e", by=1)
    assert settle(places, "f", now_s=8) == (Drop.FULL, None)  # a stranger ends nobody's channel
    places.leave("f")
    assert settle(places, "k", now_s=9, known=True) == (None, None)  # its place was kept for it
    assert settle(places, "l", now_s=10, known=True) == (None, "b")  # a known one may


def test_who_proves_nothing_or_says_nothing_of_use_has_ten_seconds() -> None:
    places = Places(Limits())
    places.arrive("half-open", "10.0.0.1", 0)
    for key in ("silent", "looks up", "serves"):
        settle(places, key)
    places.dialled("own", "", 0)
    places.secured("own", "peer own", 0, known=False)
    places.used("looks up", 3)
    places.serves("peer serves", by=1)
    assert places.overdue(9.9) == []
    assert dict(places.overdue(10)) == {"half-open": Drop.SLOW, "silent": Drop.SILENT, "own": Drop.IDLE}
    assert dict(places.overdue(13))["looks up"] is Drop.IDLE
    places.serves("peer serves", by=-1)
    assert "serves" in dict(places.overdue(13))


def test_a_connection_that_is_told_of_twice_or_after_its_end_changes_nothing() -> None:
    places = Places(FEW)
    settle(places, "a")
    assert places.secured("a", "peer b", 1, known=False) == (None, None)
    assert places.secured("nobody", "peer b", 1, known=False) == (None, None)
    places.leave("a")
    places.leave("a")
    places.used("a", 1)
    assert len(places) == 0
    assert places.counts() == {"serving": 0, "idle": 0, "half_open": 0}


STEPS = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from(["arrive", "dial", "secure", "secure known", "use", "serve", "end", "leave"]),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "127.0.0.1", "2001:db8::1"]),
    ),
    max_size=200,
)


@given(STEPS)
def test_whatever_happens_no_limit_is_exceeded_and_nothing_is_left_behind(steps: list[tuple[int, str, str]]) -> None:
    places, there, channels = Places(FEW), set(), set()

    def follow(key: int, outcome: tuple[Drop | None, object]) -> None:
        drop, victim = outcome
        if drop is None:
            there.add(key)
        else:
            places.leave(key)
            there.discard(key)
        if victim is not None:
            assert victim in there
            places.leave(victim)
            there.discard(victim)

    for now_s, (key, step, host) in enumerate(steps):
        match step:
            case "arrive" if key not in there:
                follow(key, places.arrive(key, host, now_s))
            case "dial" if key not in there:
                places.dialled(key, host, now_s)
                there.add(key)
            case "secure" | "secure known" if key in there:
                follow(key, places.secured(key, f"peer {key % 5}", now_s, known=step == "secure known"))
            case "use":
                places.used(key, now_s)
            case "serve" if key not in channels:
                places.serves(f"peer {key}", by=1)
                channels.add(key)
            case "end" if key in channels:
                places.serves(f"peer {key}", by=-1)
                channels.discard(key)
            case "leave":
                places.leave(key)
                there.discard(key)
        counts = places.counts()
        assert len(places) == len(there) == sum(counts.values())
        assert places.half_open <= FEW.half_open_max
        assert counts["serving"] + counts["idle"] <= FEW.connections_max
    for key in list(there):
        places.leave(key)
    for key in channels:
        places.serves(f"peer {key}", by=-1)
    assert not places._open
    assert not places._half_open
    assert not places._channels
    assert places.half_open == 0
