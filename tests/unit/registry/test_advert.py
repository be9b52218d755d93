from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from swarmharness.errors import ProtocolError, RefusedError, SwarmError
from swarmharness.protocol.codec import encode
from swarmharness.registry.advert import (
    ADVERT_BYTES_MAX,
    CLOCK_SKEW_S_MAX,
    LIFETIME_S_MAX,
    Advert,
    SignedAdvert,
    changed_materially,
    open_advert,
    sign_advert,
    skill_key,
)
from tests.unit.registry.samples import NOW_UNIX_S, advert, identity, offer, signed

ALICE, BOB = identity(1), identity(2)


def test_a_signed_advert_opens_to_what_was_signed() -> None:
    body, wire = signed(ALICE)
    assert open_advert(wire, now_unix_s=NOW_UNIX_S, expected=ALICE.peer_id) == body


def test_r1_an_advert_in_anothers_name_is_refused() -> None:
    wire = SignedAdvert(encode(advert(ALICE)), sign_advert(advert(BOB), BOB).signature)
    with pytest.raises(ProtocolError, match="not by it"):
        open_advert(wire, now_unix_s=NOW_UNIX_S)


def test_r1_a_changed_byte_is_refused() -> None:
    body, wire = signed(ALICE)
    cheaper = replace(body, skills=(offer(price_microcredits=1),))
    with pytest.raises(ProtocolError, match="not by it"):
        open_advert(replace(wire, advert=encode(cheaper)), now_unix_s=NOW_UNIX_S)


def test_a_node_that_answers_with_anothers_advert_is_refused() -> None:
    with pytest.raises(RefusedError, match="answered with the advert of"):
        open_advert(signed(ALICE)[1], now_unix_s=NOW_UNIX_S, expected=BOB.peer_id)


@pytest.mark.parametrize(
    ("now_unix_s", "accepted"),
    [
        (NOW_UNIX_S - CLOCK_SKEW_S_MAX - 1, False),
        (NOW_UNIX_S - CLOCK_SKEW_S_MAX, True),
        (NOW_UNIX_S + 480, True),
        (NOW_UNIX_S + 481, False),
    ],
)
def test_r1_an_advert_is_valid_only_between_its_dates(now_unix_s: int, accepted: bool) -> None:
    _, wire = signed(ALICE)
    if accepted:
        open_advert(wire, now_unix_s=now_unix_s)
    else:
        with pytest.raises(RefusedError, match=r"future|expired"):
            open_advert(wire, now_unix_s=now_unix_s)


@pytest.mark.parametrize("lifetime_s", [0, -5, LIFETIME_S_MAX + 1])
def test_an_advert_cannot_be_valid_for_ever_or_never(lifetime_s: int) -> None:
    _, wire = signed(ALICE, advert(ALICE, lifetime_s=lifetime_s))
    with pytest.raises(RefusedError):
        open_advert(wire, now_unix_s=NOW_UNIX_S)


def test_an_oversized_advert_is_refused_before_it_is_parsed() -> None:
    wire = SignedAdvert(b"\xc1" * (ADVERT_BYTES_MAX + 1), b"\0" * 64)
    with pytest.raises(ProtocolError, match="bytes, allowed"):
        open_advert(wire, now_unix_s=NOW_UNIX_S)


def test_a_skill_cannot_be_named_twice() -> None:
    _, wire = signed(ALICE, advert(ALICE, ("ocr", "ocr")))
    with pytest.raises(ProtocolError, match="twice"):
        open_advert(wire, now_unix_s=NOW_UNIX_S)


def test_a_malformed_peer_id_verifies_nothing() -> None:
    _, wire = signed(ALICE)
    forged = replace(wire, advert=encode(replace(advert(ALICE), peer_id="12D3KooWnot-a-key")))
    with pytest.raises(SwarmError):
        open_advert(forged, now_unix_s=NOW_UNIX_S)


def test_nobody_signs_for_another() -> None:
    with pytest.raises(ValueError, match="cannot sign"):
        sign_advert(advert(ALICE), BOB)


def test_an_advert_says_nothing_about_trust() -> None:
    assert not [name for name in (*Advert.__slots__, *type(offer()).__slots__) if "trust" in name]


def test_the_key_of_a_skill_is_the_digest_of_its_path() -> None:
    # printf 'swarmharness/skill/text-embedding' | sha256sum
    assert skill_key("text-embedding").hex() == "6bdd8ccab0efd5bf1bedf889167103642f6b2dfa2a3ee30f812df62d39d9d314"


@pytest.mark.parametrize(
    ("changes", "news"),
    [
        ({"queued_items": 90}, False),
        ({"service_us": 9_000}, False),
        ({"service_us": 10_001}, True),
        ({"service_us": 2_400}, True),
        ({"service_us": 0}, True),
        ({"price_microcredits": 1}, True),
        ({"model_digest": b"\1" * 32}, True),
        ({"provider": ""}, True),
        ({"missing_bytes": 7}, True),
        ({"load_us": 7}, False),
    ],
)
def test_only_what_others_decide_by_is_news(changes: dict[str, Any], news: bool) -> None:
    old, new = advert(ALICE), advert(ALICE, (offer(**changes),), sequence=2)
    assert changed_materially(old, new) is news


def test_a_skill_that_comes_or_goes_and_another_address_are_news() -> None:
    old = advert(ALICE)
    assert changed_materially(old, advert(ALICE, ("text-embedding", "ocr")))
    assert changed_materially(advert(ALICE, ("text-embedding", "ocr")), old)
    assert changed_materially(old, advert(ALICE, addresses=("/ip4/127.0.0.1/tcp/4002",)))
    assert not changed_materially(old, advert(ALICE, sequence=9, issued_unix_s=NOW_UNIX_S + 5))


def test_a_node_says_in_one_word_that_it_serves_nobody_and_that_is_news() -> None:
    serving = advert(ALICE)
    paused = replace(serving, not_serving="paused")
    assert (serving.not_serving_text, paused.not_serving_text) == ("", "its owner paused it")
    assert changed_materially(serving, paused)
    assert changed_materially(paused, serving)
    assert not changed_materially(paused, paused)
    _, opened = signed(ALICE, paused)
    assert open_advert(opened, now_unix_s=NOW_UNIX_S) == paused


def test_a_word_of_a_newer_version_is_believed_and_not_repeated() -> None:
    assert replace(advert(ALICE), not_serving="\x1b[31m").not_serving_text == "it serves nobody now"
