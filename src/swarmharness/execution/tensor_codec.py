"""Encodes named tensors as a small MessagePack header and raw little-endian bytes; it never imports numpy.

The form is `u32 header length | header | data of each tensor in order`, integers big-endian, data C-contiguous.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.skill import TENSOR_TYPES
from swarmharness.protocol.codec import Range, Size, decode, encode

ITEM_SIZES_BYTES = dict(zip(TENSOR_TYPES, (1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True))
"""Bytes of one element of each type."""
DIMENSION_MAX = 2**40
HEADER_BYTES_MAX = 64 * 1024


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
    """A named array; `data` holds its elements, little-endian, last dimension fastest."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes | memoryview

    @property
    def size_bytes(self) -> int:
        """How many bytes the data of this type and shape has."""
        return size_bytes(self.dtype, self.shape)


def size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Return how many bytes an array takes; InputError for an unknown type."""
    if dtype not in ITEM_SIZES_BYTES:
        raise InputError(f"tensors of type {dtype!r} are not supported; the types are {', '.join(TENSOR_TYPES)}")
    return ITEM_SIZES_BYTES[dtype] * math.prod(shape)


def encode_tensors(tensors: tuple[Tensor, ...]) -> bytes:
    """Return the bytes of some tensors; ValueError when the data does not fit the shape."""
    for tensor in tensors:
        if len(tensor.data) != tensor.size_bytes:
            raise ValueError(f"{tensor.name}: {len(tensor.data)} bytes for {tensor.dtype} {tensor.shape}")
    header = encode(TensorHeaders(tuple(TensorHeader(each.name, each.dtype, each.shape) for each in tensors)))
    return b"".join((len(header).to_bytes(4, "big"), header, *(tensor.data for tensor in tensors)))


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
    tensors: list[Tensor] = []
    at = 4 + header_bytes
    for header in headers:
        length = size_bytes(header.dtype, header.shape)
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
