"""Turns the JSON form of an output back into its bytes, the inverse of `items.to_json`; it never imports numpy."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any, assert_never

from swarmharness.errors import InputError
from swarmharness.execution.records import Label, Line, encode_record
from swarmharness.execution.skill import TENSOR_TYPES, Kind
from swarmharness.execution.tensor_codec import Tensor, encode_tensors
from swarmharness.execution.tensor_values import tensor_of

ELEMENTS_MAX = 2**20


def from_json(kind: Kind, value: Any) -> bytes:
    """Return the bytes of an output as `submit --json` prints it; InputError for anything else."""
    try:
        match kind:
            case Kind.TEXT_EMBEDDING:
                return encode_tensors((_tensor("embedding", "float32", [len(value)], value),))
            case Kind.IMAGE_OCR:
                return encode_record([_line(line) for line in value])
            case Kind.FILE_TYPE:
                label, score, mime, group = (value[name] for name in Label._fields)
                return encode_record(Label(str(label), float(score), str(mime), str(group)))
            case Kind.TENSOR:
                return encode_tensors(tuple(_tensor(name, **_parts(part)) for name, part in value.items()))
            case _:
                assert_never(kind)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
        raise InputError(f"not an output of the kind {kind.value}: {error or type(error).__name__}") from None


def _line(line: Mapping[str, Any]) -> Line:
    left, top, right, bottom = map(int, line["box"])
    return Line(str(line["text"]), (left, top, right, bottom), float(line["confidence"]))


def _parts(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"dtype": part["dtype"], "shape": part["shape"], "data": part["data"]}


def _tensor(name: str, dtype: str, shape: list[int], data: list[Any]) -> Tensor:
    if not isinstance(data, list) or not isinstance(shape, list):
        raise ValueError("the elements, and the shape, are lists")
    if not all(type(size) is int and size >= 0 for size in shape) or math.prod(shape) != len(data):
        raise ValueError(f"the shape {shape} does not fit {len(data)} elements")
    if len(data) > ELEMENTS_MAX or dtype not in TENSOR_TYPES:
        raise ValueError(f"{len(data)} elements of type {dtype!r}")
    return tensor_of(name, dtype, tuple(shape), data)
