from __future__ import annotations

import pytest

from swarmharness.errors import ConfigurationError, UnavailableError
from swarmharness.registry.models import ModelKey, model_key, parse_skill, select

ONE, TWO, THREE = (bytes.fromhex(start.ljust(64, "0")) for start in ("aabbccdd00", "aabbccdd11", "ffffffff"))
SERVED = {ONE: 1, TWO: 3, THREE: 2}


def test_a_name_may_be_followed_by_digits_of_a_digest() -> None:
    assert parse_skill("echo") == ("echo", "")
    assert parse_skill("echo@AABBCCDD") == ("echo", "aabbccdd")
    assert parse_skill("echo@" + "0" * 64) == ("echo", "0" * 64)


@pytest.mark.parametrize("text", ["echo@", "echo@aabbccd", "echo@aabbccdg", "echo@" + "0" * 65, "echo@aabbccdd@0"])
def test_what_cannot_be_the_digits_of_a_digest_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="8 to 64 hexadecimal digits"):
        parse_skill(text)


def test_digits_select_the_one_model_that_begins_so() -> None:
    assert select("echo", "ffffffff", SERVED) == THREE
    assert select("echo", "aabbccdd1", SERVED) == TWO


def test_digits_that_several_models_begin_with_list_them() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        select("echo", "aabbccdd", SERVED)
    assert ONE.hex() in str(refusal.value)
    assert TWO.hex() in str(refusal.value)
    assert THREE.hex() not in str(refusal.value)


def test_digits_that_no_model_begins_with_name_those_that_are_served() -> None:
    with pytest.raises(UnavailableError) as refusal:
        select("echo", "12345678", SERVED)
    assert all(digest.hex() in str(refusal.value) for digest in SERVED)
    assert "(1 node)" in str(refusal.value)
    assert "(3 nodes)" in str(refusal.value)


def test_equal_models_are_one_object() -> None:
    assert model_key("echo", bytes(32)) is model_key("echo", bytes(bytearray(32)))
    assert model_key("echo", bytes(32)) == ModelKey("echo", bytes(32))
