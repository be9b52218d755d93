"""Converts between the bytes of a tensor and Python values, flat and in order; it never imports numpy."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from swarmharness.execution.tensor_codec import (
    FLOATS,
    ITEM_SIZES_BYTES,
    STRING,
    Tensor,
    string_tensor,
    strings_of,
)

_FORMATS = {
    "bool": "?",
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
}


def values_of(tensor: Tensor) -> list[Any]:
    """Return the elements of a tensor as numbers, booleans or texts; InputError for a text that is not UTF-8."""
    if tensor.dtype == STRING:
        return list(strings_of(tensor))
    dtype, data = tensor.dtype, tensor.data
    if dtype == "bfloat16":
        dtype, data = "float32", widened(data)
    count = len(data) // ITEM_SIZES_BYTES[dtype]
    return list(struct.unpack(f"<{count}{_FORMATS[dtype]}", data))


def tensor_of(name: str, dtype: str, shape: tuple[int, ...], values: Sequence[Any]) -> Tensor:
    """Return a tensor with these elements, None for NaN.

    Raises ValueError, TypeError or struct.error for what the type cannot hold, KeyError for an unknown type.
    """
    if dtype == STRING:
        if not all(isinstance(value, str) for value in values):
            raise TypeError("the elements of a string tensor are texts")
        return string_tensor(name, shape, values)
    if dtype in FLOATS:
        values = [math.nan if value is None else value for value in values]
    packed = _FORMATS["float32" if dtype == "bfloat16" else dtype]
    data = struct.pack(f"<{len(values)}{packed}", *values)
    return Tensor(name, dtype, shape, narrowed(data) if dtype == "bfloat16" else data)


def widened(data: bytes | memoryview) -> bytes:
    """Return bfloat16 elements as float32 ones, which hold the same numbers: a bfloat16 is the upper half of one."""
    wide = bytearray(2 * len(data))
    wide[2::4], wide[3::4] = data[0::2], data[1::2]
    return bytes(wide)


def narrowed(data: bytes) -> bytes:
    """Return float32 elements as bfloat16 ones, rounded to the nearest, of two as near to the even one."""
    bits = struct.unpack(f"<{len(data) // 4}I", data)
    return struct.pack(f"<{len(bits)}H", *map(_rounded, bits))


def _rounded(bits: int) -> int:
    if bits & 0x7FFFFFFF > 0x7F800000:  # NaN, whose upper half alone might read as infinity
        return bits >> 16 | 0x40
    return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
