from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import INT64_MAX, Count, Range, Size, decode, encode


class Kind(IntEnum):
    ONE = 1
    TWO = 2


@dataclass(frozen=True, slots=True)
class Leaf:
    name: Annotated[str, Size(20)]
    count: Count


@dataclass(frozen=True, slots=True)
class Tree:
    kind: Kind
    data: Annotated[bytes, Size(64)]
    signed: int
    share: Annotated[int, Range(-5, 300)]
    leaves: Annotated[tuple[Leaf, ...], Size(8)]
    note: Annotated[str | None, Size(10)]
    good: bool


short = st.text(max_size=20).filter(lambda text: len(text.encode(errors="surrogatepass")) <= 20)
leaves = st.builds(Leaf, short.filter(str.isprintable), st.integers(0, INT64_MAX))
trees = st.builds(
    Tree,
    st.sampled_from(Kind),
    st.binary(max_size=64),
    st.integers(-INT64_MAX - 1, INT64_MAX),
    st.integers(-5, 300),
    st.lists(leaves, max_size=8).map(tuple),
    st.none() | st.text(alphabet="abc", max_size=10),
    st.booleans(),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=80) | short,
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(short, inner, max_size=3),
    max_leaves=30,
)


@given(trees)
def test_messages_survive(tree: Tree) -> None:
    assert decode(Tree, encode(tree)) == tree


@given(trees, trees)
def test_equal_messages_have_equal_bytes_and_others_do_not(left: Tree, right: Tree) -> None:
    assert (encode(left) == encode(right)) == (left == right)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        decode(Tree, data)


@given(st.lists(values, max_size=10))
def test_any_values_are_a_message_or_a_protocol_error(wire: list[object]) -> None:
    with contextlib.suppress(ProtocolError):
        decode(Tree, msgpack.packb([1, *wire]))


@given(trees, st.data())
def test_one_flipped_byte_gives_a_message_or_a_protocol_error(tree: Tree, data: st.DataObject) -> None:
    raw = bytearray(encode(tree))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ProtocolError):
        decode(Tree, bytes(raw))
