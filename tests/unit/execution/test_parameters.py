"""What a task may be told: one form as bytes, and nothing that the kind does not know."""

from __future__ import annotations

import msgpack
import pytest

from swarmharness.errors import ConfigurationError, InputError, ProtocolError
from swarmharness.execution import parameters
from swarmharness.execution.parameters import (
    PARAMETERS_OF_KIND,
    Parameter,
    decode_parameters,
    encode_parameters,
    parameter_names,
    read_parameters,
)
from swarmharness.execution.skill import Kind

TEXT = "text-embedding"


def test_every_kind_says_what_it_takes_and_a_kind_of_a_later_release_takes_nothing() -> None:
    assert set(PARAMETERS_OF_KIND) == set(Kind)
    assert parameter_names(TEXT) == ("on_long",)
    assert parameter_names("telepathy") == ()


def test_none_and_those_that_have_their_default_are_no_bytes() -> None:
    assert encode_parameters(TEXT, {}) == b""
    assert encode_parameters(TEXT, {"on_long": "truncate"}) == b""
    assert decode_parameters(b"") == {}
    told = encode_parameters(TEXT, {"on_long": "error"})
    assert told == b"\x81\xa7on_long\xa5error"
    assert read_parameters(TEXT, told) == {"on_long": "error"}


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TEXT, {"on_lang": "error"}, "no parameter 'on_lang'; did you mean 'on_long'?; it takes on_long"),
        (TEXT, {"on_long": "shorten"}, "on_long of text-embedding is 'shorten': allowed is one of truncate, error"),
        (TEXT, {"on_long": 1}, "on_long of text-embedding is 1"),
        (TEXT, {"on_long": ["error"]}, "allowed is one of"),
        ("image-ocr", {"on_long": "error"}, "image-ocr has no parameter 'on_long'; it takes none"),
        ("telepathy", {"on_long": "error"}, "telepathy has no parameter"),
    ],
)
def test_an_unknown_or_ill_typed_one_is_refused_by_name_at_both_ends(
    kind: str, values: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigurationError) as flag:
        encode_parameters(kind, values)
    with pytest.raises(InputError) as task:
        read_parameters(kind, msgpack.packb(values))
    assert message in str(flag.value)
    assert str(task.value) == str(flag.value)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",  # an empty map is no bytes
        b"\xc0",
        b"\x91\xa7on_long",
        b"\xc1",
        b"\x81\xa7on_long\xa5erro",
        b"\x81\xa7on_long\xa5error\x00",
        b"\x81\xa7on_long\xd9\x05error",  # not the shortest form
        b"\x82\xa1b\x01\xa1a\x01",  # out of order
        b"\x82\xa1a\x01\xa1a\x02",  # twice
        b"\x81\x01\x02",  # no name
        b"\x81\xa1a\x82\xa1b\x01\xa1a\x01",  # out of order inside
        b"\x81\xa1a\xca\x3f\x80\x00\x00",  # a short float
        b"\x81\xa1a" + b"\x91" * 2000 + b"\x90",
    ],
)
def test_bytes_in_any_other_form_are_no_parameters(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="parameters"):
        decode_parameters(data)


def test_parameters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    long = Parameter(("x" * parameters.PARAMETERS_BYTES_MAX,), "")
    monkeypatch.setitem(PARAMETERS_OF_KIND, Kind.TENSOR, {"long": long})
    with pytest.raises(ConfigurationError, match="bytes of parameters; at most 65536"):
        encode_parameters("tensor", {"long": long.values[0]})
