from __future__ import annotations

from dataclasses import replace

import base58
import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.network.ports import PeerAddress
from swarmharness.registry.invite import PREFIX, Invite, invite_text, parse_invite, parse_join_target
from tests.unit.registry.samples import NOW_UNIX_S, identity

ALICE, BOB = identity(1), identity(2)
INVITE = Invite(
    peer_id=ALICE.peer_id,
    addresses=("/ip4/192.0.2.7/tcp/4001", "/ip4/192.0.2.7/tcp/4002/ws"),
    pre_shared_key=b"k" * 32,
    credit_line_microcredits=600_000_000,
    token=b"t" * 16,
    expires_unix_s=NOW_UNIX_S,
)


def test_an_invite_is_one_line_that_reads_back() -> None:
    text = invite_text(INVITE, ALICE)
    assert text.startswith(PREFIX)
    assert text.split() == [text]
    assert parse_invite(f"  {text}\n") == INVITE


def test_an_invite_leads_to_the_inviters_addresses() -> None:
    target = parse_join_target(invite_text(INVITE, ALICE), now_unix_s=NOW_UNIX_S)
    assert target.peer == PeerAddress(ALICE.peer_id, INVITE.addresses)
    assert target.invite == INVITE


@pytest.mark.parametrize("cut", [1, 7, 40])
def test_a_cut_line_is_recognised(cut: int) -> None:
    with pytest.raises(ConfigurationError, match="cut or changed"):
        parse_invite(invite_text(INVITE, ALICE)[:-cut])


def test_a_mistyped_character_is_recognised() -> None:
    text = invite_text(INVITE, ALICE)
    other = "2" if text[40] != "2" else "3"
    with pytest.raises(ConfigurationError, match="cut or changed"):
        parse_invite(text[:40] + other + text[41:])
    with pytest.raises(ConfigurationError, match="no invite has"):
        parse_invite(text[:40] + "0" + text[41:])


def test_an_invite_in_anothers_name_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot invite"):
        invite_text(INVITE, BOB)
    by_bob = invite_text(replace(INVITE, peer_id=BOB.peer_id), BOB)
    raw = base58.b58decode(by_bob[len(PREFIX) :])
    forged = raw.replace(BOB.peer_id.encode(), ALICE.peer_id.encode())[:-4]
    from swarmharness.registry.invite import _checksum

    with pytest.raises(ConfigurationError, match="not signed by the node"):
        parse_invite(PREFIX + base58.b58encode(forged + _checksum(forged)).decode())


def test_an_expired_invite_is_refused() -> None:
    text = invite_text(INVITE, ALICE)
    with pytest.raises(ConfigurationError, match="expired"):
        parse_join_target(text, now_unix_s=NOW_UNIX_S + 1)
    forever = invite_text(replace(INVITE, expires_unix_s=0), ALICE)
    assert parse_join_target(forever, now_unix_s=2**39).invite is not None


def test_the_secret_in_an_invite_is_not_repeated_in_errors() -> None:
    text = invite_text(INVITE, ALICE)
    with pytest.raises(ConfigurationError) as caught:
        parse_invite(text[:-1])
    assert text[20:60] not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["/ip4/192.0.2.7/tcp/4001", "/ip6/::1/tcp/1/ws", "/dns4/node.example/tcp/443/wss"],
)
def test_a_full_address_is_a_place_to_join(address: str) -> None:
    target = parse_join_target(f"{address}/p2p/{ALICE.peer_id}", now_unix_s=0)
    assert target.peer == PeerAddress(ALICE.peer_id, (address,))
    assert target.invite is None


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.7/tcp/4001",
        f"/ip4/192.0.2.7/tcp/70000/p2p/{ALICE.peer_id}",
        f"/ip4/192.0.2.7/udp/4001/p2p/{ALICE.peer_id}",
        "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWnobody",
        "hello",
        "",
    ],
)
def test_anything_else_is_a_configuration_error_in_one_line(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_join_target(text, now_unix_s=0)
    assert "\n" not in str(caught.value)
