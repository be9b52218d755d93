from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, ClassVar

import msgpack
import pytest

from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import Added, Count, Embedded, Range, Size, decode, encode, signable


class Colour(IntEnum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True, slots=True)
class Inner:
    number: Count


@dataclass(frozen=True, slots=True)
class Outer:
    VERSION: ClassVar[int] = 3

    text: Annotated[str, Size(4)]
    data: Annotated[bytes, Size(4, 1)]
    flag: bool
    ratio: Annotated[float, Range(0, 1)]
    colour: Colour
    inner: Inner
    many: Annotated[tuple[Annotated[int, Range(0, 9)], ...], Size(3)]
    maybe: Annotated[str | None, Size(2)]


GOOD = Outer("äb", b"\x00", True, 0.5, Colour.BLUE, Inner(7), (1, 2, 3), None)
WIRE: list[Any] = [3, "äb", b"\x00", True, 0.5, 2, [1, 7], [1, 2, 3], None]


def test_a_message_is_the_array_of_its_version_and_fields() -> None:
    assert msgpack.unpackb(encode(GOOD)) == WIRE
    assert decode(Outer, encode(GOOD)) == GOOD


def test_trailing_fields_of_a_newer_sender_are_ignored() -> None:
    assert decode(Outer, msgpack.packb([*WIRE, "new", {"more": 1}])) == GOOD


def test_the_signed_bytes_begin_with_the_domain() -> None:
    assert signable("test", GOOD) == b"test\x00" + encode(GOOD)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, 2, r"Outer: version 2 is not supported \(this node speaks 3\)"),
        (0, "3", "begins with its version"),
        (1, "ääb", r"Outer\.text: 5 bytes, allowed are 0 to 4"),
        (1, b"ab", r"Outer\.text: expected str, got bytes"),
        (2, b"", r"Outer\.data: 0 bytes, allowed are 1 to 4"),
        (3, 1, r"Outer\.flag: expected a boolean, got int"),
        (4, 2.0, r"Outer\.ratio: 2\.0 is outside 0 to 1"),
        (4, math.nan, r"Outer\.ratio: nan is outside"),
        (4, 1, r"Outer\.ratio: expected a float, got int"),
        (5, 3, r"Outer\.colour: expected one of \[1, 2\]"),
        (5, True, r"Outer\.colour: expected one of"),
        (6, [1, -1], r"Outer\.inner\.number: -1 is outside"),
        (6, [1, 2**63], r"Outer\.inner\.number: 9223372036854775808 is outside"),
        (6, [1, True], r"Outer\.inner\.number: expected an integer, got bool"),
        (6, {"number": 1}, r"Outer\.inner: expected an array"),
        (7, [1, 2, 3, 4], r"Outer\.many: 4 elements, allowed are 0 to 3"),
        (7, [1, 10], r"Outer\.many\[1\]: 10 is outside 0 to 9"),
        (7, b"\x01", r"Outer\.many: expected an array, got bytes"),
        (8, "abc", r"Outer\.maybe: 3 bytes, allowed are 0 to 2"),
    ],
)
def test_a_bad_field_is_refused_with_its_path(place: int, value: object, message: str) -> None:
    wire = list(WIRE)
    wire[place] = value
    with pytest.raises(ProtocolError, match=message):
        decode(Outer, msgpack.packb(wire))


def test_missing_fields_are_refused() -> None:
    with pytest.raises(ProtocolError, match="7 fields, at least 8 needed"):
        decode(Outer, msgpack.packb(WIRE[:-1]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", encode(GOOD)[:-1], encode(GOOD) + b"\x00", b"\x91" * 5000, b"\xd4\x01\x00", b"\xdd\xff\xff\xff\xff"],
)
def test_what_is_not_one_messagepack_value_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="not MessagePack"):
        decode(Outer, data)


@pytest.mark.parametrize("annotation", [str, bytes, tuple[int, ...], dict[str, int], int | str])
def test_a_message_class_without_limits_cannot_be_used(annotation: Any) -> None:
    cls: Any = dataclass(type("Loose", (), {"__annotations__": {"field": annotation}}))
    with pytest.raises(TypeError, match=r"Loose\.field"):
        encode(cls(None))


@dataclass(frozen=True, slots=True)
class Grown:
    first: Count
    second: Annotated[int, Range(0, 9), Added()] = 5
    third: Annotated[tuple[Count, ...], Size(2), Added()] = (7,)


def test_what_a_later_release_added_has_its_default_from_older_senders() -> None:
    assert [decode(Grown, msgpack.packb(wire)) for wire in ([1, 2], [1, 2, 3], [1, 2, 3, [4]])] == [
        Grown(2),
        Grown(2, 3),
        Grown(2, 3, (4,)),
    ]
    assert msgpack.unpackb(encode(Grown(2))) == [1, 2, 5, [7]]
    with pytest.raises(ProtocolError, match="0 fields, at least 1 needed"):
        decode(Grown, msgpack.packb([1]))
    with pytest.raises(ProtocolError, match=r"Grown\.second: 10 is outside"):
        decode(Grown, msgpack.packb([1, 2, 10]))


def test_a_field_that_was_added_comes_last_and_has_a_default() -> None:
    for names in ({"one": Annotated[int, Added()]}, {"one": Annotated[int, Added()], "two": int}):
        cls: Any = dataclass(type("Misgrown", (), {"__annotations__": names}))
        with pytest.raises(TypeError, match="come last, and have defaults"):
            encode(cls(*range(len(names))))


@dataclass(frozen=True, slots=True)
class Envelope:
    inside: Annotated[Inner, Embedded(8)]


def test_an_embedded_message_travels_as_the_bytes_of_its_own_encoding() -> None:
    message = Envelope(Inner(7))
    assert msgpack.unpackb(encode(message)) == [1, encode(Inner(7))]
    assert decode(Envelope, encode(message)) == message


@pytest.mark.parametrize(
    ("inside", "reason"),
    [
        ([1, 7], "expected bytes"),
        (encode(Inner(7)) + bytes(8), "11 bytes, allowed are 0 to 8"),
        (b"\x91", "not MessagePack"),
        (msgpack.packb([2, 7]), "version 2 is not supported"),
    ],
)
def test_an_embedded_message_that_is_none_is_refused(inside: object, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode(Envelope, msgpack.packb([1, inside]))


Ratio = Annotated[float, Range(0, 1)]


@dataclass(frozen=True, slots=True)
class Awkward:
    value: Count
    path: Annotated[str, Size(2)]
    message: Annotated[tuple[Annotated[tuple[Ratio, ...], Size(2)], ...] | None, Size(2)]
    cls: bool


def test_fields_may_be_named_like_anything_that_reads_or_writes_them() -> None:
    for tables in (None, ((0.5, 1.0), ())):
        message = Awkward(7, "ä", tables, True)
        assert decode(Awkward, encode(message)) == message
    with pytest.raises(ProtocolError, match=r"Awkward\.path: 3 bytes"):
        decode(Awkward, msgpack.packb([1, 7, "äb", None, True]))
