"""Decoding takes memory in proportion to the bytes, whatever they are, and agrees with a decoder that builds it all."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import bytes_max, decode, encode
from swarmharness.protocol.elements import check_elements
from tests.unit.protocol.make_vectors import VECTORS
from tests.unit.protocol.messages import MESSAGES
from tests.unit.protocol.shapes import Array, Blob, Boolean, Choice, Integer, Message, Optional, Shape, Text, shape_of

CLASSES: dict[tuple[str, str], type[Any]] = {(one.schema, one.rule): type(one.example) for one in MESSAGES}
VALID: list[tuple[type[Any], bytes]] = [
    (CLASSES[path.stem, vector["rule"]], bytes.fromhex(vector["hex"]))
    for path in sorted(VECTORS.glob("*.json"))
    for kind in ("accepted", "tolerated")
    for vector in json.loads(path.read_text("utf-8"))[kind]
]
HUGE = [cls for cls in CLASSES.values() if bytes_max(cls) > 2**23]
"""Classes of messages that may have more than 8 MiB, since they hold items and outputs."""

PER_BYTE = 64
"""Two characters of text are three bytes on the wire and 51 in memory; nothing is worse."""
BESIDE = 128 * 1024
"""An array that claims to be as long as its class allows, an error, and what the interpreter keeps."""


def outcome(cls: type[Any], data: bytes) -> Any:
    """Return the message or the error, and check what it took."""
    tracemalloc.start()
    try:
        try:
            result: Any = decode(cls, data)
        except ProtocolError as error:
            result = error
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes <= PER_BYTE * len(data) + BESIDE, (cls, len(data), peak_bytes)
    return result


def reference(cls: type[Any], data: bytes) -> list[Any] | None:
    """Return the values of a message of this class as MessagePack builds them all, or None: the decoder of before."""
    try:
        value = msgpack.unpackb(data, use_list=True, raw=False, strict_map_key=True, max_ext_len=0)
    except Exception:  # it raises a dozen kinds
        return None
    shape = shape_of(cls)
    return pruned(value, shape) if fits(value, shape) else None


def fits(value: Any, shape: Shape) -> bool:
    match shape:
        case Integer(least, most):
            return type(value) is int and least <= value <= most
        case Choice(values):
            return type(value) is int and value in values
        case Boolean():
            return type(value) is bool
        case Text(fewest, most):
            return type(value) is str and fewest <= len(value.encode()) <= most
        case Blob(fewest, most):
            return type(value) is bytes and fewest <= len(value) <= most
        case Array(fewest, most, element):
            return type(value) is list and fewest <= len(value) <= most and all(fits(one, element) for one in value)
        case Optional(inner):
            return value is None or fits(value, inner)
        case Message(version, elements, added):
            if type(value) is not list or not value or type(value[0]) is not int or value[0] != version:
                return False
            least = len(elements) - added
            return len(value) > least and all(fits(one, each) for one, each in zip(value[1:], elements, strict=False))


def pruned(value: Any, shape: Shape) -> Any:
    """Return a value without what later releases appended."""
    match shape:
        case Array(element=element):
            return [pruned(one, element) for one in value]
        case Message(elements=elements):
            return [value[0], *(pruned(one, each) for one, each in zip(value[1:], elements, strict=False))]
        case _:
            return value


def check(cls: type[Any], data: bytes) -> None:
    found, values = outcome(cls, data), reference(cls, data)
    at_fault_inside = isinstance(found, ProtocolError) and cls.__name__ not in str(found)
    if values is not None and not at_fault_inside:  # to the reference, an embedded message is any bytes
        assert not isinstance(found, ProtocolError), found
        ours = msgpack.unpackb(encode(found))
        assert values == ours[: len(values)]  # those that an older sender left out have their defaults
    if not isinstance(found, ProtocolError):
        assert reference(cls, encode(found)) is not None
        assert decode(cls, encode(found)) == found


@pytest.mark.parametrize(("cls", "data"), VALID)
def test_vectors_take_memory_in_proportion(cls: type[Any], data: bytes) -> None:
    check(cls, data)


splices = st.sampled_from(
    [
        b"\x90",
        b"\x91" * 40,
        b"\x80",
        b"\x81\xa0\x90",
        b"\xdd\xff\xff\xff\xff",
        b"\xdc\x0f\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xd4\x05\x00",
        b"\xc9\xff\xff\xff\xff\x05",
        b"\xc0",
        b"\xc1",
        b"\xcb" + bytes(8),
        b"\xa1\xff",
        b"\xcf" + b"\xff" * 8,
        b"\x90" * 5000,
        b"\x92\x01\x90" * 500,
    ]
)
edits = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 40), st.one_of(st.binary(max_size=6), splices)),
    min_size=1,
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=400)
@given(st.sampled_from(VALID), edits)
def test_mutated_vectors_take_memory_in_proportion(
    vector: tuple[type[Any], bytes], changes: list[tuple[int, int, bytes]]
) -> None:
    cls, data = vector
    for at, removed, added in changes:
        place = at % (len(data) + 1)
        data = data[:place] + added + data[place + removed :]
    check(cls, data)


@settings(deadline=None)
@given(st.sampled_from(list(CLASSES.values())), st.binary(max_size=2000))
def test_any_bytes_take_memory_in_proportion(cls: type[Any], data: bytes) -> None:
    check(cls, data)


def bombs(size: int) -> dict[str, bytes]:
    return {
        "empty arrays": b"\xdd" + size.to_bytes(4, "big") + b"\x90" * size,
        "nested arrays": b"\x91" * size + b"\x90",
        "lying arrays": b"\xdd\x7f\xff\xff\xff" * (size // 5),
        "lying arrays of a size that is allowed": b"\xdc\x10\x00" * (size // 3),
        "keys": b"\xdf" + (size // 4).to_bytes(4, "big") + b"\xa1a\xa1b" * (size // 4),
        "empty maps": b"\xdd" + size.to_bytes(4, "big") + b"\x80" * size,
        "a lying text": b"\xdb\xff\xff\xff\xff" + b"a" * size,
        "a lying extension": b"\xc9\xff\xff\xff\xff\x05" + b"a" * size,
        "extensions": b"\xdd" + (size // 3).to_bytes(4, "big") + b"\xd4\x05\x00" * (size // 3),
    }


SMALL_BOMBS, LARGE_BOMBS = bombs(2**16), bombs(2**23)
PLACES = ("the message", "a field", "a later field")


def placed(bomb: bytes, place: str, valid: bytes) -> bytes:
    """Return a message that has a bomb in some place."""
    fields = msgpack.unpackb(valid)
    if place == "the message":
        return bomb
    before = [bytes(msgpack.packb(one)) for one in fields]
    parts = [*before[:-1], bomb] if place == "a field" else [*before, bomb]
    return b"\xdc" + len(parts).to_bytes(2, "big") + b"".join(parts)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bomb", SMALL_BOMBS)
def test_a_bomb_takes_nothing(bomb: str, place: str) -> None:
    for cls, valid in VALID:
        outcome(cls, placed(SMALL_BOMBS[bomb], place, valid))


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bomb", LARGE_BOMBS)
@pytest.mark.parametrize("cls", HUGE, ids=lambda cls: cls.__name__)
def test_a_large_bomb_is_refused_before_anything_is_built(cls: type[Any], bomb: str, place: str) -> None:
    valid = next(data for one, data in VALID if one is cls)
    data = placed(LARGE_BOMBS[bomb], place, valid)
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolError, match=cls.__name__):
            decode(cls, data)
        assert tracemalloc.get_traced_memory()[1] < BESIDE
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300) | splices.map(lambda part: part * 20), st.integers(1, 50), st.integers(1, 8))
@example(b"\x92\x01\xa1a", 3, 1)
def test_what_is_counted_is_what_messagepack_builds(data: bytes, elements_max: int, depth_max: int) -> None:
    try:
        value = msgpack.unpackb(data, strict_map_key=False, raw=True, max_ext_len=0)
    except TypeError:
        return  # a key that Python cannot hash: what is counted can still not be built
    except Exception:  # it raises a dozen kinds
        with pytest.raises(ProtocolError):
            check_elements(data, 10**6, "it", 10**6)
        return
    within = counted(data) <= elements_max and depth_of(value) <= depth_max
    try:
        check_elements(data, elements_max, "it", depth_max)
    except ProtocolError:
        assert not within
    else:
        assert within


def counted(data: bytes) -> int:
    """Return how many elements a value has, double keys included."""
    unpacker = msgpack.Unpacker(object_pairs_hook=lambda pairs: pairs, strict_map_key=False, raw=True)
    unpacker.feed(data)
    return total(unpacker.unpack())


def total(value: Any) -> int:
    inside = sum(map(total, value)) if isinstance(value, list | tuple) else 0
    return inside if isinstance(value, tuple) else 1 + inside


def depth_of(value: Any) -> int:
    inside = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return 1 + max(map(depth_of, inside), default=0) if inside else 0
