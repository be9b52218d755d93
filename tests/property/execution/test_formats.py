"""Whatever bytes or text come in, what comes out is a value or one of our own errors."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.catalog import SHIPPED_FOLDER
from swarmharness.execution.items import to_json
from swarmharness.execution.output_values import from_json
from swarmharness.execution.skill import TENSOR_TYPES, Kind, parse_manifest
from swarmharness.execution.tensor_arrays import from_arrays, read_npz, to_array, to_arrays
from swarmharness.execution.tensor_codec import (
    TensorHeader,
    TensorHeaders,
    decode_tensors,
    encode_tensors,
    strings_of,
)
from swarmharness.execution.worker_messages import HEAD_BYTES, parse_body, parse_head
from swarmharness.protocol.codec import encode

SHAPES = numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0)
NUMPY_TYPES = [dtype for dtype in TENSOR_TYPES if dtype not in ("bfloat16", "string")]
ARRAYS = st.sampled_from(NUMPY_TYPES).flatmap(lambda dtype: numpy_strategies.arrays(np.dtype(dtype), SHAPES))
TEXTS = numpy_strategies.arrays(np.dtype(object), SHAPES, elements=st.text(max_size=5), fill=st.nothing())
TOML_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=10), inner, max_size=3)),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=20), ARRAYS, max_size=4))
def test_tensors_survive_the_wire(arrays: dict[str, Any]) -> None:
    back = to_arrays(decode_tensors(encode_tensors(from_arrays(arrays))))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


@given(TEXTS)
def test_texts_survive_the_wire(array: Any) -> None:
    (tensor,) = decode_tensors(encode_tensors(from_arrays({"t": array})))
    assert to_array(tensor).tolist() == array.tolist()
    assert from_json(Kind.TENSOR, to_json(Kind.TENSOR, encode_tensors((tensor,)))) == encode_tensors((tensor,))


@given(st.binary(max_size=40), st.integers(0, 6))
def test_any_bytes_are_texts_or_an_input_error(data: bytes, count: int) -> None:
    header = encode(TensorHeaders((TensorHeader("t", "string", (count,)),)))
    with contextlib.suppress(InputError):
        (tensor,) = decode_tensors(len(header).to_bytes(4, "big") + header + data)
        assert len(strings_of(tensor)) == count


@given(st.binary(max_size=200))
def test_any_bytes_are_tensors_or_an_input_error(data: bytes) -> None:
    with contextlib.suppress(InputError):
        decode_tensors(data)


@given(st.integers(0, 100), st.integers(0, 255))
def test_a_changed_byte_gives_tensors_or_an_input_error(at: int, value: int) -> None:
    data = bytearray(encode_tensors(from_arrays({"x": np.arange(12, dtype=np.float32).reshape(3, 4)})))
    data[at % len(data)] = value
    with contextlib.suppress(InputError):
        decode_tensors(bytes(data))


@given(st.sampled_from(Kind), st.binary(max_size=100))
def test_any_output_bytes_are_json_or_a_protocol_error(kind: Kind, data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        to_json(kind, data)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_npz_file_or_an_input_error(data: bytes) -> None:
    with contextlib.suppress(InputError):
        read_npz(data, "x.npz", size_bytes_max=10_000)


@given(st.binary(min_size=HEAD_BYTES, max_size=100))
def test_any_frame_is_a_message_or_a_protocol_error(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        kind, _ = parse_head(data)
        parse_body(kind, data[HEAD_BYTES:])


@given(st.text(max_size=300))
def test_any_text_is_a_manifest_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_manifest(text, "skill.toml")


@given(
    st.sampled_from(sorted(SHIPPED_FOLDER.glob("*/skill.toml"))).map(lambda path: path.read_text().splitlines()),
    st.data(),
)
def test_a_changed_line_gives_a_manifest_or_an_input_error_of_one_line(lines: list[str], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    key = lines[at].partition("=")[0].strip()
    lines[at] = f"{key} = {_toml(data.draw(TOML_VALUES))}" if "=" in lines[at] else data.draw(st.text(max_size=20))
    message = "skill.toml: fine"
    try:
        parse_manifest("\n".join(lines), "skill.toml")
    except InputError as error:
        message = str(error)
    assert message.startswith("skill.toml: ")
    assert "\n" not in message


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{_toml(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
        case str():
            return (
                '"' + "".join(f"\\U{ord(letter):08x}" for letter in value if not 0xD800 <= ord(letter) < 0xE000) + '"'
            )
        case _:
            return str(value)
