from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, ClassVar

import msgpack
import pytest

from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import Added, Count, Embedded, Range, Size, bytes_max, decode, encode, signable


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
    colour: Colour
    inner: Inner
    many: Annotated[tuple[Annotated[int, Range(0, 9)], ...], Size(3)]
    maybe: Annotated[str | None, Size(2)]


GOOD = Outer("äb", b"\x00", True, Colour.BLUE, Inner(7), (1, 2, 3), None)
WIRE: list[Any] = [3, "äb", b"\x00", True, 2, [1, 7], [1, 2, 3], None]


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
        (0, 2, r"Outer\.version: invalid value 2, which this node does not speak"),
        (0, "3", r"Outer\.version: expected `int`, got `str`"),
        (1, "ääb", r"Outer\.text: 5 bytes, allowed are 4"),
        (1, b"ab", r"Outer\.text: expected `str`, got `bytes`"),
        (2, b"", r"Outer\.data: expected `bytes` of length >= 1"),
        (2, bytes(5), r"Outer\.data: expected `bytes` of length <= 4"),
        (3, 1, r"Outer\.flag: expected `bool`, got `int`"),
        (4, 3, r"Outer\.colour: invalid enum value 3"),
        (4, True, r"Outer\.colour: expected `int`, got `bool`"),
        (5, [1, -1], r"Outer\.inner\.number: expected `int` >= 0"),
        (5, [1, 2**63], r"Outer\.inner\.number: expected `int` <= 9223372036854775807"),
        (5, [1, True], r"Outer\.inner\.number: expected `int`, got `bool`"),
        (5, [2, 1], r"Outer\.inner\.version: invalid value 2"),
        (5, {"number": 1}, r"Outer\.inner: expected `array`, got `object`"),
        (6, [1, 2, 3, 4], r"Outer\.many: expected `array` of length <= 3"),
        (6, [1, 10], r"Outer\.many\[1\]: expected `int` <= 9"),
        (6, b"\x01", r"Outer\.many: expected `array`, got `bytes`"),
        (7, "abc", r"Outer\.maybe: expected `str` of length <= 2"),
        (7, "äb", r"Outer\.maybe: 3 bytes, allowed are 2"),
    ],
)
def test_a_bad_field_is_refused_with_its_path(place: int, value: object, message: str) -> None:
    wire = list(WIRE)
    wire[place] = value
    with pytest.raises(ProtocolError, match=message):
        decode(Outer, msgpack.packb(wire))


def test_missing_fields_are_refused() -> None:
    with pytest.raises(ProtocolError, match="expected `array` of at least length 8, got 7"):
        decode(Outer, msgpack.packb(WIRE[:-1]))


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", encode(GOOD)[:-1], encode(GOOD) + b"\x00", b"\x91" * 5000, b"\xd4\x01\x00", b"\xdd\xff\xff\xff\xff"],
)
def test_what_is_not_one_message_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="Outer"):
        decode(Outer, data)


def test_a_text_that_is_too_long_is_named_wherever_it_is() -> None:
    with pytest.raises(ProtocolError, match=r"^Texts\.rows\[1\]\.words\[2\]: 4 bytes, allowed are 3$"):
        decode(Texts, msgpack.packb([1, [[1, ["ä", "abc"]], [1, ["", "a", "ää"]]]]))


def test_what_a_newer_sender_appended_is_skipped_in_every_part_and_however_it_is_made() -> None:
    more: list[Any] = ["new", {"more": [1, {}]}, msgpack.ExtType(5, b"later"), 1.5, [[[]]] * 40]
    wire = [*WIRE[:5], [1, 7, *more], *WIRE[6:], *more]
    assert decode(Outer, msgpack.packb(wire)) == GOOD


def test_more_than_a_message_can_hold_is_refused_unread() -> None:
    wire = msgpack.packb([*WIRE, bytes(bytes_max(Outer))])
    with pytest.raises(ProtocolError, match=f"Outer: {len(wire)} bytes, allowed are {bytes_max(Outer)}"):
        decode(Outer, wire)


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
    with pytest.raises(ProtocolError, match="expected `array` of at least length 2, got 1"):
        decode(Grown, msgpack.packb([1]))
    with pytest.raises(ProtocolError, match=r"Grown\.second: expected `int` <= 9"):
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
        ([1, 7], r"Envelope\.inside: expected `bytes`, got `array`"),
        (encode(Inner(7)) + bytes(8), r"Envelope\.inside: expected `bytes` of length <= 8"),
        (b"\x91", r"Inner: expected `array` of at least length 2, got 1"),
        (msgpack.packb([2, 7]), r"Inner\.version: invalid value 2"),
    ],
)
def test_an_embedded_message_that_is_none_is_refused(inside: object, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        decode(Envelope, msgpack.packb([1, inside]))


@dataclass(frozen=True, slots=True)
class Row:
    words: Annotated[tuple[Annotated[str, Size(3)], ...], Size(3)]


@dataclass(frozen=True, slots=True)
class Texts:
    rows: Annotated[tuple[Row, ...], Size(2)]


Digit = Annotated[int, Range(0, 9)]


@dataclass(frozen=True, slots=True)
class Awkward:
    value: Count
    path: Annotated[str, Size(2)]
    message: Annotated[tuple[Annotated[tuple[Digit, ...], Size(2)], ...] | None, Size(2)]
    cls: bool


def test_fields_may_be_named_like_anything_that_reads_or_writes_them() -> None:
    for tables in (None, ((5, 1), ())):
        message = Awkward(7, "ä", tables, True)
        assert decode(Awkward, encode(message)) == message
    with pytest.raises(ProtocolError, match=r"Awkward\.path: 3 bytes"):
        decode(Awkward, msgpack.packb([1, 7, "äb", None, True]))
