from __future__ import annotations

from contextlib import suppress

import base58
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swarmharness.errors import ConfigurationError, ProtocolError, RefusedError
from swarmharness.identity import verify
from swarmharness.protocol.codec import decode
from swarmharness.registry.advert import SignedAdvert, open_advert
from swarmharness.registry.invite import PREFIX, parse_invite, parse_join_target
from swarmharness.registry.mdns import peer_in_txt
from swarmharness.registry.messages import FindResponse
from tests.unit.registry.samples import NOW_UNIX_S, identity, signed

_, GENUINE = signed(identity(1))


@given(st.binary(max_size=400), st.binary(min_size=64, max_size=64))
def test_any_bytes_are_an_advert_of_their_signer_or_an_error(data: bytes, signature: bytes) -> None:
    try:
        advert = open_advert(SignedAdvert(data, signature), now_unix_s=NOW_UNIX_S)
    except (ProtocolError, RefusedError):
        return
    assert verify(advert.peer_id, b"swarmharness/advert/1\x00" + data, signature)


@given(st.integers(0, len(GENUINE.advert) - 1), st.integers(1, 255))
def test_no_flipped_byte_of_a_genuine_advert_is_accepted(position: int, change: int) -> None:
    data = bytearray(GENUINE.advert)
    data[position] ^= change
    try:
        open_advert(SignedAdvert(bytes(data), GENUINE.signature), now_unix_s=NOW_UNIX_S)
    except (ProtocolError, RefusedError):
        return
    raise AssertionError("a forged advert was accepted")


@given(st.binary(max_size=300))
def test_any_answer_to_find_is_a_message_or_a_protocol_error(data: bytes) -> None:
    try:
        decode(FindResponse, data)
    except ProtocolError:
        return


@given(
    st.one_of(st.text(max_size=200), st.binary(max_size=200).map(lambda raw: PREFIX + base58.b58encode(raw).decode()))
)
@example(PREFIX)
@example("/ip4/1.2.3.4/tcp/99999/p2p/x")
@settings(max_examples=200)
def test_any_text_is_a_place_to_join_or_a_configuration_error(text: str) -> None:
    for parse in (parse_invite, lambda given_text: parse_join_target(given_text, now_unix_s=0)):
        with suppress(ConfigurationError):
            parse(text)


@given(st.dictionaries(st.sampled_from([b"dnsaddr", b"dnsaddr2", b"id"]), st.one_of(st.none(), st.binary(max_size=80))))
def test_any_txt_record_is_a_peer_or_nothing(properties: dict[bytes, bytes | None]) -> None:
    assert peer_in_txt(properties) is None
