from __future__ import annotations

import pytest

from swarmharness.attacks import KEPT_US, NAMES_MAX, PEERS_APART_MAX, Action, Attack, Attacks, network_of

S = 1_000_000
A, B = "192.0.2.1", "192.0.2.77"


def note(
    attacks: Attacks,
    count: int,
    *,
    peer: str = "peer",
    host: str = "",
    now_us: int = 0,
    every_us: int = 0,
    mild: bool = False,
    reason: str = "malformed",
) -> None:
    for number in range(count):
        attacks.note(reason, peer, host, Action.REFUSED, now_us + number * every_us, mild=mild)


def sources(attacks: Attacks, now_us: int = 0) -> dict[str, int]:
    return {one.source: one.count for one in attacks.current(now_us)}


def test_who_errs_a_few_times_at_once_or_now_and_then_for_long_is_no_attack() -> None:
    attacks = Attacks()
    note(attacks, 19, peer="once")
    note(attacks, 10_000, peer="now and then", every_us=10 * S)
    assert attacks.current(0) == []
    assert attacks.current(100_000 * S) == []


def test_who_errs_often_is_one_from_the_first_time_on() -> None:
    attacks = Attacks()
    note(attacks, 200, now_us=5 * S, every_us=2 * S)
    assert attacks.current(404 * S) == [Attack("peer", "malformed", 200, 5 * S, Action.REFUSED)]


def test_what_meets_busy_peers_too_is_one_only_when_there_is_much_of_it() -> None:
    attacks = Attacks()
    note(attacks, 399, peer="busy", mild=True)
    note(attacks, 400, peer="hostile", mild=True)
    assert sources(attacks) == {"hostile": 400}


def test_an_attack_is_forgotten_after_an_hour_without_it_and_what_follows_is_counted_anew() -> None:
    attacks = Attacks()
    note(attacks, 30)
    assert sources(attacks, KEPT_US) == {"peer": 30}
    assert sources(attacks, KEPT_US + 1) == {}
    note(attacks, 1, now_us=KEPT_US + S)
    assert sources(attacks, KEPT_US + S) == {}
    note(attacks, 20, now_us=KEPT_US + S)
    (again,) = attacks.current(KEPT_US + S)
    assert (again.count, again.since_us) == (21, KEPT_US + S)


def test_a_slip_long_before_is_no_part_of_an_attack() -> None:
    attacks = Attacks()
    note(attacks, 1)
    note(attacks, 25, now_us=60 * S)
    (one,) = attacks.current(60 * S)
    assert (one.count, one.since_us) == (25, 60 * S)


def test_whoever_is_known_by_address_alone_is_told_as_its_network() -> None:
    attacks = Attacks()
    for host in (A, B, "2001:db8::1", "2001:db8:0:ff::1", "127.3.2.1"):
        note(attacks, 20, peer="", host=host)
    assert sources(attacks) == {"192.0.2.0/24": 40, "2001:db8::/56": 40, "127.3.2.0/24": 20}
    note(attacks, 99, peer="", host="no address")
    assert len(attacks) == 3


def test_a_peer_is_told_by_its_name_and_not_again_as_its_network() -> None:
    attacks = Attacks()
    note(attacks, 50, peer="a", host=A)
    assert sources(attacks) == {"a": 50}
    note(attacks, 30, peer="", host=B)
    assert sources(attacks) == {"a": 50, "192.0.2.0/24": 30}


def test_a_peer_that_is_gone_belongs_to_where_it_was() -> None:
    attacks = Attacks()
    note(attacks, 50, peer="a", host=A)
    note(attacks, 1, peer="a")
    assert sources(attacks) == {"a": 51}


@pytest.mark.parametrize("each", [1, 60])
def test_many_identities_of_one_network_are_one_attack(each: int) -> None:
    attacks = Attacks()
    for number in range(500):
        note(attacks, each, peer=f"identity {number}", host=A)
    note(attacks, 100, peer="elsewhere", host="198.51.100.1")
    assert sources(attacks) == {"192.0.2.0/24": 500 * each, "elsewhere": 100}


def test_few_peers_of_a_network_are_told_apart_for_each_reason() -> None:
    attacks = Attacks()
    for number in range(PEERS_APART_MAX):
        note(attacks, 40, peer=str(number), host=A)
    note(attacks, 90, peer="0", host=A, reason="frame")
    assert [(one.source, one.reason) for one in attacks.current(0)] == [
        ("0", "frame"),
        ("0", "malformed"),
        ("1", "malformed"),
        ("2", "malformed"),
    ]


def test_names_that_come_once_fill_the_tables_and_no_more() -> None:
    attacks = Attacks()
    for number in range(5_000):
        note(attacks, 1, peer=str(number), host=f"10.{number // 250}.{number % 250}.1")
    assert len(attacks) == NAMES_MAX
    assert attacks.current(0) == []


def test_the_past_keeps_no_place_from_the_present() -> None:
    attacks = Attacks(4)
    note(attacks, 1_000, peer="old")
    note(attacks, 10, peer="other")
    note(attacks, 1, peer="new", now_us=KEPT_US + 1)
    note(attacks, 20, peer="other", now_us=KEPT_US + 1)
    assert sources(attacks, KEPT_US + 1) == {"other": 20}


def test_loopback_has_networks_too() -> None:
    assert network_of("127.0.0.1") == "127.0.0.0/24"
    assert network_of("::ffff:192.0.2.1") == "192.0.2.0/24"
    assert network_of("fe80::1%eth0") == "fe80::/56"
    assert network_of("") == ""
