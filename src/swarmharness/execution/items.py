"""Turns user input into item bytes and output bytes into JSON values, for each kind; it never imports numpy by itself.

| kind | item | output |
|---|---|---|
| text-embedding | UTF-8 text | one float32 tensor `embedding` |
| image-ocr | an image file | MessagePack `[[text, [x0, y0, x1, y1], confidence], …]`, pixels of the upright image |
| file-type | the file's bytes | MessagePack `[label, score, MIME type, group]` |
| tensor | named tensors (`tensor_codec`) | named tensors |
"""

from __future__ import annotations

import math
from typing import Any, assert_never

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.records import decode_label, decode_lines
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_codec import FLOATS, Tensor, decode_output, encode_tensors
from swarmharness.execution.tensor_values import values_of

ITEM_BYTES_MAX = 64 * 1024 * 1024
TEXT_BYTES_MAX = 256 * 1024
TEXT_TOKENS_MAX = 256
"""What a text-embedding model sees of a text; the parameter `on_long` says what becomes of more."""
TEXT_SPLIT_TOKENS_MAX = 32 * TEXT_TOKENS_MAX
"""With `on_long` at `split-mean`: an item has one price, however many pieces it has."""
FILE_TYPE_BLOCK_BYTES = 4096
"""The file-type model looks at no more than this at either end, so the middle of a long file is left at home."""


def item_from_text(kind: Kind, text: str) -> bytes:
    """Return the item for a text that the user typed or that a line holds; InputError when the kind takes files."""
    if kind is not Kind.TEXT_EMBEDDING:
        raise InputError(f"{kind.value} takes files, not text: {text[:60]!r} is not a file")
    return text.encode("utf-8", "surrogateescape")


def item_from_bytes(kind: Kind, name: str, data: bytes) -> bytes:
    """Return the item in a file's bytes; InputError names the file and says why there is none."""
    if len(data) > ITEM_BYTES_MAX and kind is not Kind.FILE_TYPE:
        raise InputError(f"{name}: {len(data)} bytes; an item has at most {ITEM_BYTES_MAX}")
    match kind:
        case Kind.TEXT_EMBEDDING:
            raise InputError(f"{name}: {kind.value} takes texts, and files of them by the line")
        case Kind.IMAGE_OCR:
            if not data:
                raise InputError(f"{name}: the file is empty")
            return data
        case Kind.FILE_TYPE:
            return shorten_file(data)
        case Kind.TENSOR:
            from swarmharness.execution.tensor_arrays import read_npz

            try:
                return encode_tensors(read_npz(data, name, size_bytes_max=ITEM_BYTES_MAX))
            except (ProtocolError, ValueError) as error:
                raise InputError(f"{name}: {error}") from None
        case _:
            assert_never(kind)


def item_bytes_max(kind: Kind) -> int:
    """Return how many bytes an item of this kind has at most."""
    return TEXT_BYTES_MAX if kind is Kind.TEXT_EMBEDDING else ITEM_BYTES_MAX


def limits_of(kind: Kind) -> dict[str, int]:
    """Return what people are told of the limits of a kind."""
    limits = {"item_bytes_max": item_bytes_max(kind)}
    return {**limits, "tokens_max": TEXT_TOKENS_MAX} if kind is Kind.TEXT_EMBEDDING else limits


def shorten_file(data: bytes) -> bytes:
    """Return what the file-type model can see of a file: its first and last block, which give the same answer."""
    if len(data) <= 2 * FILE_TYPE_BLOCK_BYTES:
        return data
    return data[:FILE_TYPE_BLOCK_BYTES] + data[-FILE_TYPE_BLOCK_BYTES:]


def to_json(kind: Kind, data: bytes) -> Any:
    """Return an output as a value for JSON; numbers that JSON lacks become None. ProtocolError: not such an output."""
    try:
        match kind:
            case Kind.TEXT_EMBEDDING:
                (tensor,) = decode_output(data)
                return numbers(tensor)
            case Kind.IMAGE_OCR:
                return [
                    {"text": line.text, "box": list(line.box), "confidence": round(line.confidence, 4)}
                    for line in decode_lines(data)
                ]
            case Kind.FILE_TYPE:
                return {**(label := decode_label(data))._asdict(), "score": round(label.score, 4)}
            case Kind.TENSOR:
                return {tensor.name: tensor_to_json(tensor) for tensor in decode_output(data)}
            case _:
                assert_never(kind)
    except (InputError, ValueError, TypeError) as error:
        raise ProtocolError(f"not an output of the kind {kind.value}: {error}") from None


def tensor_to_json(tensor: Tensor) -> dict[str, Any]:
    """Return a tensor as `{"dtype", "shape", "data"}`, the data flat, last dimension fastest."""
    return {"dtype": tensor.dtype, "shape": list(tensor.shape), "data": numbers(tensor)}


def numbers(tensor: Tensor) -> list[Any]:
    """Return the elements of a tensor, flat; a NaN or an infinity becomes None. InputError: a text is not UTF-8."""
    values = values_of(tensor)
    if tensor.dtype in FLOATS:
        return [value if math.isfinite(value) else None for value in values]
    return values
