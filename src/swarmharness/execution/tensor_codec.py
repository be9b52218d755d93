"""Encodes named tensors as a small MessagePack header and raw little-endian bytes; it never imports numpy.

The form is `u32 header length | header | data of each tensor in order`, integers big-endian, data C-contiguous. An
element of type `string` is a little-endian `u32` of its length in bytes and its UTF-8.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from swarmharness.errors import InputError, ProtocolError
from swarmharness.protocol.codec import Range, Size, decode, encode

STRING = "string"
FLOATS = ("float16", "bfloat16", "float32", "float64")
ITEM_SIZES_BYTES = {
    "bool": 1,
    "float16": 2,
    "bfloat16": 2,
    "float32": 4,
    "float64": 8,
    "int8": 1,
    "int16": 2,
    "int32": 4,
    "int64": 8,
    "uint8": 1,
    "uint16": 2,
    "uint32": 4,
    "uint64": 8,
}
"""Bytes of one element of each type but strings, which have none in common."""
_NAN_STEP = 4096
DIMENSION_MAX = 2**40
"""Of one dimension, and of all but zeros together: NumPy refuses larger ones, even of an empty tensor."""
HEADER_BYTES_MAX = 64 * 1024
TEXTS_MAX = 2**18
"""Texts in all tensors of an item or output: each is looked at by itself, and a node must not be kept busy by them."""
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What one tensor is, in the header."""

    name: Annotated[str, Size(200)]
    dtype: Annotated[str, Size(16)]
    shape: Annotated[tuple[Annotated[int, Range(0, DIMENSION_MAX)], ...], Size(8)]


@dataclass(frozen=True, slots=True)
class TensorHeaders:
    """The header: every tensor, in the order of the data."""

    tensors: Annotated[tuple[TensorHeader, ...], Size(64)]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array; `data` holds its elements in their wire form, last dimension fastest."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def elements(self) -> int:
        """How many elements the shape has."""
        return math.prod(self.shape)


def encode_tensors(tensors: tuple[Tensor, ...]) -> bytes:
    """Return the bytes of some tensors; ValueError when the data does not fit the shape, InputError: too many texts."""
    _count_texts(tensors)
    for tensor in tensors:
        if _data_bytes(tensor.name, tensor.dtype, tensor.shape, memoryview(tensor.data)) != len(tensor.data):
            raise ValueError(f"{tensor.name}: {len(tensor.data)} bytes for {tensor.dtype} {tensor.shape}")
    header = encode(TensorHeaders(tuple(TensorHeader(each.name, each.dtype, each.shape) for each in tensors)))
    return b"".join((len(header).to_bytes(4, "big"), header, *(tensor.data for tensor in tensors)))


def decode_output(data: bytes) -> tuple[Tensor, ...]:
    """Return the tensors of an output; InputError as `decode_tensors`, and for one that says nothing."""
    tensors = decode_tensors(data)
    if nothing_but_nan(tensors):
        raise InputError(NOTHING_BUT_NAN)
    return tensors


NOTHING_BUT_NAN = "every number in it is NaN (not a number)"


def nothing_but_nan(tensors: Iterable[Tensor]) -> bool:
    """Tell whether there are floating-point numbers in these tensors, and each of them is NaN."""
    floats = [tensor for tensor in tensors if tensor.dtype in FLOATS and tensor.data]
    return bool(floats) and all(map(_is_nan, floats))


def _is_nan(tensor: Tensor) -> bool:
    size, step = ITEM_SIZES_BYTES[tensor.dtype], 1  # the first element decides nearly always
    code, is_nan = _NAN_TESTS[tensor.dtype]
    at = 0
    while at < len(tensor.data):
        piece = tensor.data[at : at + step * size]
        if not all(map(is_nan, struct.unpack(f"<{len(piece) // size}{code}", piece))):
            return False
        at, step = at + len(piece), _NAN_STEP
    return True


_NAN_TESTS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "float16": ("e", math.isnan),
    "bfloat16": ("H", lambda bits: int(bits) & 0x7FFF > 0x7F80),
    "float32": ("f", math.isnan),
    "float64": ("d", math.isnan),
}


def decode_tensors(data: bytes) -> tuple[Tensor, ...]:
    """Return the tensors in `data`, as views of it; InputError when it holds anything else."""
    view = memoryview(data)
    header_bytes = int.from_bytes(view[:4], "big")
    if len(view) < 4 or header_bytes > min(len(view) - 4, HEADER_BYTES_MAX):
        raise InputError("not encoded tensors: the header is cut off")
    try:
        headers = decode(TensorHeaders, view[4 : 4 + header_bytes]).tensors
    except ProtocolError as error:
        raise InputError(f"not encoded tensors: {error}") from None
    _count_texts(headers)
    tensors: list[Tensor] = []
    at = 4 + header_bytes
    for header in headers:
        if math.prod(filter(None, header.shape)) > DIMENSION_MAX:
            raise InputError(f"not encoded tensors: the shape of {header.name!r} is too large")
        length = _data_bytes(header.name, header.dtype, header.shape, view[at:])
        if length > len(view) - at:
            raise InputError(f"not encoded tensors: the data of {header.name!r} is cut off")
        tensors.append(Tensor(header.name, header.dtype, header.shape, view[at : at + length]))
        at += length
    if at != len(view):
        raise InputError(f"not encoded tensors: {len(view) - at} bytes too many")
    names = {tensor.name for tensor in tensors}
    if len(names) != len(tensors):
        raise InputError("not encoded tensors: a name occurs twice")
    return tuple(tensors)


def string_tensor(name: str, shape: tuple[int, ...], texts: Sequence[str]) -> Tensor:
    """Return a tensor of strings; InputError for a text that UTF-8 cannot hold."""
    try:
        encoded = [text.encode() for text in texts]
    except UnicodeEncodeError as error:
        raise InputError(f"tensor {name!r} has a text with a lone surrogate at {error.start}, no UTF-8") from None
    return Tensor(name, STRING, shape, b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text)))


def strings_of(tensor: Tensor) -> list[str]:
    """Return the elements of a tensor of strings, flat; InputError when one is not UTF-8."""
    data, texts, at = bytes(tensor.data), [], 0
    try:
        while at < len(data):
            start = at + _LENGTH.size
            at = start + _LENGTH.unpack_from(data, at)[0]
            texts.append(data[start:at].decode())
    except UnicodeDecodeError:
        raise InputError(f"not encoded tensors: a text of {tensor.name!r} is not UTF-8") from None
    return texts


def _count_texts(tensors: Sequence[Tensor | TensorHeader]) -> None:
    texts = sum(math.prod(tensor.shape) for tensor in tensors if tensor.dtype == STRING)
    if texts > TEXTS_MAX:
        raise InputError(f"{texts} texts in tensors; an item or output has at most {TEXTS_MAX}")


def _data_bytes(name: str, dtype: str, shape: tuple[int, ...], rest: memoryview) -> int:
    """Return how many bytes of `rest` a tensor's data takes, more than there are if it is cut off.

    Raises InputError for an unknown type.
    """
    count = math.prod(shape)
    if dtype != STRING:
        if dtype not in ITEM_SIZES_BYTES:
            known = ", ".join((*ITEM_SIZES_BYTES, STRING))
            raise InputError(f"tensors of type {dtype!r} are not supported; the types are {known}")
        return ITEM_SIZES_BYTES[dtype] * count
    at = count * _LENGTH.size  # at least: an empty text has its length alone
    if at <= len(rest):
        at = 0
        for _ in range(count):
            if len(rest) - at < _LENGTH.size:
                return len(rest) + 1
            at += _LENGTH.size + int(_LENGTH.unpack_from(rest, at)[0])
    return at
