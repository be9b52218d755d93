"""Writes `proto/vectors/*.json` from the examples and shapes of the messages, for `scripts/make-vectors`.

The files are the contract with other implementations: when one changes, the wire has changed, and its version must too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

from swarmharness.errors import ErrorKind
from swarmharness.execution.tensor_codec import Tensor, TensorHeader, TensorHeaders, encode_tensors
from swarmharness.execution.tensor_values import tensor_of, values_of
from swarmharness.protocol.codec import decode, encode
from swarmharness.protocol.frame import (
    FrameDecoder,
    FrameKind,
    encode_close,
    encode_error,
    encode_frame,
    encode_request,
    encode_u64,
    encode_window,
    pack_u64,
)
from tests.unit.protocol.messages import MESSAGES, WireMessage
from tests.unit.protocol.shapes import (
    Array,
    Blob,
    Boolean,
    Choice,
    Integer,
    Message,
    Optional,
    Shape,
    Text,
    field_names,
    shape_of,
)

VECTORS = Path(__file__).parents[3] / "proto" / "vectors"
ABOUT = (
    "Messages in MessagePack (hex) for the rules of proto/{schema}.cddl. `accepted`: decode, and encode to the same "
    "bytes. `tolerated`: decode, and encode to `canonical`. `refused`: must not decode; `field` is the one at fault."
)
ABOUT_FRAMES = (
    "Whole frames (hex), read with a maximum of 1,048,576 bytes. `accepted`: one frame of this kind, request id and "
    "body. `refused`: the bytes end the channel."
)
ABOUT_TENSORS = (
    "Whole items or outputs (hex). `accepted`: these tensors, whose `values` are flat, last dimension fastest. "
    "`refused`: no tensors."
)
FRAME_BYTES_MAX = 1_048_576
ELEMENTS_SHOWN_MAX = 128
"""Sizes above this are not shown in a vector: the files would be megabytes."""


def main() -> None:
    """Write one file a schema."""
    VECTORS.mkdir(exist_ok=True)
    for schema in sorted({message.schema for message in MESSAGES}):
        (VECTORS / f"{schema}.json").write_text(vectors_text(schema), "utf-8")


def vectors_text(schema: str) -> str:
    """Return the whole file of one schema."""
    vectors: dict[str, Any] = {
        "about": ABOUT.format(schema=schema),
        "schema": f"proto/{schema}.cddl",
        "accepted": [],
        "tolerated": [],
        "refused": [],
    }
    for message in MESSAGES:
        if message.schema == schema:
            _add(message, vectors)
    if schema == "channel":
        vectors["frames"] = {"about": ABOUT_FRAMES, "accepted": _frames(), "refused": _broken_frames()}
    if schema == "items":
        vectors["tensors"] = {"about": ABOUT_TENSORS, "accepted": _tensors(), "refused": _broken_tensors()}
    return json.dumps(vectors, indent=1) + "\n"


def _add(message: WireMessage, vectors: dict[str, Any]) -> None:
    shape = shape_of(type(message.example))
    assert isinstance(shape, Message)
    wire = encode(message.example)
    values = msgpack.unpackb(wire)
    rule = {"rule": message.rule}
    vectors["accepted"].append({**rule, "name": "an example", "hex": wire.hex()})
    vectors["accepted"].append({**rule, "name": "the least of every field", "hex": _pack(_least(shape)).hex()})
    newer = _pack([*values, "a field of a newer version"])
    vectors["tolerated"].append(
        {**rule, "name": "a trailing field", "hex": newer.hex(), "canonical": wire.hex()},
    )
    if shape.added:
        older = _pack(values[: -shape.added])
        canonical = encode(decode(type(message.example), older)).hex()
        vectors["tolerated"].append(
            {**rule, "name": "without what later releases added", "hex": older.hex(), "canonical": canonical}
        )
    for name, data in _broken_wholes(values[: len(values) - shape.added], wire):
        vectors["refused"].append({**rule, "name": name, "field": None, "hex": data.hex()})
    for index, (field, element) in enumerate(zip(field_names(type(message.example)), shape.elements, strict=True), 1):
        for name, value in _broken_fields(element, values[index]):
            data = _pack([*values[:index], value, *values[index + 1 :]])
            vectors["refused"].append({**rule, "name": f"{field}: {name}", "field": field, "hex": data.hex()})


def _frames() -> list[dict[str, Any]]:
    examples = [
        ("a call", encode_request(FrameKind.REQUEST, 7, 30_000, b"task.run", b"payload")),
        ("its answer", encode_frame(FrameKind.RESPONSE, 7, b"answer")),
        ("an empty answer", encode_frame(FrameKind.RESPONSE, 2**32 - 1)),
        ("its failure", encode_error(7, ErrorKind.UNAVAILABLE, "there is no such skill")),
        ("the caller gave up", encode_frame(FrameKind.CANCEL, 7)),
        ("65,536 bytes are finished", encode_window(65_536)),
        ("a heartbeat", encode_u64(FrameKind.PING, 0, 2**63)),
        ("its echo", encode_u64(FrameKind.PONG, 0, 2**63)),
        ("a call of 64 MiB", encode_request(FrameKind.BULK_REQUEST, 8, 60_000, b"task.run", pack_u64(64 * 2**20))),
        ("an answer of 64 MiB", encode_u64(FrameKind.BULK_RESPONSE, 8, 64 * 2**20)),
        ("a farewell", encode_close("going down")),
    ]
    decoder = FrameDecoder(FRAME_BYTES_MAX)
    found: list[dict[str, Any]] = []
    for name, data in examples:
        ((kind, request_id, body),) = decoder.feed(data)
        found.append({"name": name, "kind": kind, "request_id": request_id, "body": body.hex(), "hex": data.hex()})
    return found


def _broken_frames() -> list[dict[str, str]]:
    examples = {
        "a length that leaves no room for kind and request id": bytes.fromhex("000000040100000000"),
        "a length of nothing": bytes(4),
        "a length above the maximum": (FRAME_BYTES_MAX - 3).to_bytes(4, "big"),
        "a length of four thousand million": b"\xff\xff\xff\xff",
        "kind 0": bytes.fromhex("000000050000000000"),
        "kind 12": bytes.fromhex("000000050c00000000"),
        "an HTTP request": b"GET / HTTP/1.1\r\n\r\n",
        "a TLS hello": bytes.fromhex("16030100a5010000a10303"),
    }
    return [{"name": name, "hex": data.hex()} for name, data in examples.items()]


def _tensors() -> list[dict[str, Any]]:
    examples = {
        "an embedding": (tensor_of("embedding", "float32", (1, 3), [0.5, -0.25, 1.0]),),
        "texts, of which one is empty": (tensor_of("words", "string", (2, 2), ["one", "", "zwölf", "二"]),),
        "bfloat16 and float16": (
            tensor_of("b", "bfloat16", (3,), [1.0, -2.5, 3.140625]),
            tensor_of("h", "float16", (2,), [1.0, -2.5]),
        ),
        "integers, booleans and a scalar": (
            tensor_of("i", "int64", (2,), [-1, 2**40]),
            tensor_of("b", "bool", (2,), [True, False]),
            tensor_of("s", "uint8", (), [7]),
        ),
        "no elements": (tensor_of("x", "string", (0, 4), []), tensor_of("y", "float64", (0,), [])),
        "no tensors": (),
    }
    return [
        {"name": name, "hex": encode_tensors(tensors).hex(), "tensors": list(map(_shown, tensors))}
        for name, tensors in examples.items()
    ]


def _shown(tensor: Tensor) -> dict[str, Any]:
    shape, values = list(tensor.shape), values_of(tensor)
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": shape, "values": values}


def _broken_tensors() -> list[dict[str, str]]:
    def packed(dtype: str, shape: tuple[int, ...], data: bytes) -> bytes:
        header = encode(TensorHeaders((TensorHeader("x", dtype, shape),)))
        return len(header).to_bytes(4, "big") + header + data

    examples = {
        "no header": b"\x00\x00",
        "a type that there is not": packed("complex64", (1,), bytes(8)),
        "data cut off": packed("float32", (2,), bytes(7)),
        "data after the end": packed("float32", (1,), bytes(5)),
        "a shape of 2^80 elements": packed("float32", (2**40, 2**40), bytes(8)),
        "2^80 texts": packed("string", (2**40, 2**40), bytes(8)),
        "262,145 texts": packed("string", (2**18 + 1,), b""),
        "a text cut off": packed("string", (1,), b"\x05\x00\x00\x00four"),
        "the length of a text cut off": packed("string", (2,), b"\x00\x00\x00\x00\x00\x00\x00"),
        "a text of four thousand million bytes": packed("string", (1,), b"\xff\xff\xff\xffx"),
        "a text that is not UTF-8": packed("string", (1,), b"\x01\x00\x00\x00\xff"),
        "a text too many": packed("string", (1,), bytes(8)),
    }
    return [{"name": name, "hex": data.hex()} for name, data in examples.items()]


def _pack(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _broken_wholes(values: list[Any], wire: bytes) -> Iterator[tuple[str, bytes]]:
    yield "no bytes", b""
    yield "cut short", wire[:-1]
    yield "bytes after the end", wire + b"\x00"
    yield "a map", _pack({"version": 1})
    yield "no version", _pack([])
    yield "a later version", _pack([values[0] + 1, *values[1:]])
    yield "a version that is true", _pack([True, *values[1:]])
    yield "an extension type", _pack([*values[:-1], msgpack.ExtType(5, b"")])
    yield "nested too deeply", b"\x91" * 1_100 + b"\x90"
    yield "an array that claims four thousand million elements", b"\xdd\xff\xff\xff\xff\x01"
    if len(values) > 1:
        yield "the last field missing", _pack(values[:-1])


def _broken_fields(shape: Shape, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield values that a field of this shape must not have."""
    match shape:
        case Integer(least, most):
            yield from (("text", "1"), ("a boolean", True), ("a float", 1.0), ("null", None))
            yield "below its least", least - 1
            yield "above its most", most + 1
        case Choice(values):
            yield from (("text", "1"), ("an unknown number", max(values) + 1))
        case Boolean():
            yield from (("a number", 1), ("null", None))
        case Text(fewest, most):
            yield from (("bytes", b"a" * max(fewest, 1)), ("a number", 1), ("null", None))
            yield from _sizes(fewest, most, "a")
            if most % 2 == 0 and most <= 2 * ELEMENTS_SHOWN_MAX:
                yield "too long in UTF-8, though not in characters", "\u00e9" * (most // 2) + "a"
        case Blob(fewest, most):
            yield from (("text", "a" * max(fewest, 1)), ("a number", 1), ("null", None))
            yield from _sizes(fewest, most, b"a")
        case Array(fewest, most, element):
            yield from (("a number", 1), ("text", "a"), ("null", None))
            filler = value[0] if value else _least(element)
            yield from _sizes(fewest, most, [filler])
            yield "an element of another type", [_wrong_type(element)]
        case Optional(inner):
            yield "another type", _wrong_type(inner)
        case Message(added=added):
            cut = value[: len(value) - 1 - added]
            yield from (("a number", 1), ("no version", []), ("cut short", cut), ("null", None))


def _sizes(fewest: int, most: int, one: Any) -> Iterator[tuple[str, Any]]:
    if fewest:
        yield "too short", one * (fewest - 1)
    if most <= ELEMENTS_SHOWN_MAX:
        yield "too long", one * (most + 1)


def _wrong_type(shape: Shape) -> Any:
    return "a" if isinstance(shape, Integer | Choice | Boolean | Blob | Array | Message) else 1


def _least(shape: Shape) -> Any:
    """Return the smallest wire value of a shape."""
    match shape:
        case Integer(least, _):
            return least
        case Choice(values):
            return min(values)
        case Boolean():
            return False
        case Text(fewest, _):
            return "a" * fewest
        case Blob(fewest, _):
            return bytes(fewest)
        case Array(fewest, _, element):
            return [_least(element)] * fewest
        case Optional():
            return None
        case Message(version, elements):
            return [version, *map(_least, elements)]


if __name__ == "__main__":
    main()
