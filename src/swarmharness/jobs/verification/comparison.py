"""Whether two outputs agree, by the kind of the skill; pure, without numpy, and safe for whatever bytes a peer sends.

| kind | agrees |
|---|---|
| text-embedding, tensor | names, types, shapes and integers exactly; floats: see below |
| file-type | label, MIME type and group exactly, the score within the tolerance |
| image-ocr | the texts exactly and in order, boxes within 2 pixels, confidences within ten times the tolerance |
| any other | byte for byte |

Floats agree when max|a - b| <= tolerance x max(max|a|, max|b|) over each tensor: in a norm of sums, a single element of
a large tensor could be altered. The tolerance of bfloat16 is two steps of that type at least, 2^-6. NaN and infinities
must be at the same places. Equal bytes agree always. What outputs are flagged with must agree too. Only outputs of one
comparison class are compared (model digest, arithmetic, quantisation): the caller sees to that.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Generator, Sequence
from operator import sub
from struct import unpack

from swarmharness.errors import InputError
from swarmharness.execution.ports import TRUNCATED
from swarmharness.execution.records import Label, Line, decode_label, decode_lines
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_codec import FLOATS, ITEM_SIZES_BYTES, Tensor, decode_tensors
from swarmharness.execution.tensor_values import widened
from swarmharness.jobs.messages import Output

BOX_PIXELS_MAX = 2
FLAGS_COMPARED = TRUNCATED
"""Bits that this release does not know say nothing."""
STEP_ELEMENTS = 32_768
"""So many elements are compared in one go, about a millisecond; then the caller may let others run."""

Steps = Generator[None, None, bool]
"""Yields now and then, and returns whether the outputs agree."""

_CODES = {"float32": "f", "float64": "d"}
_COARSE = {"bfloat16": 2**-6}
"""The least tolerance of a type whose numbers lie further apart than the tolerance: two steps, each of up to 2^-7."""


def compare(kind: str, left: Sequence[Output], right: Sequence[Output], tolerance: float) -> Steps:
    """Compare the answers to one task, item by item; an item that both could not process agrees, whatever they say."""
    if len(left) != len(right):
        return False
    work = 0
    for one, other in zip(left, right, strict=True):
        if bool(one.error) != bool(other.error):
            return False
        if one.error:
            continue
        if (one.flags ^ other.flags) & FLAGS_COMPARED:
            return False
        if one.data == other.data:
            continue
        if not (yield from _compare_output(kind, one.data, other.data, tolerance)):
            return False
        work += len(one.data)
        if work >= STEP_ELEMENTS:
            work = 0
            yield
    return True


def agree(kind: str, left: Sequence[Output], right: Sequence[Output], tolerance: float) -> bool:
    """Return what `compare` finds, in one go."""
    steps = compare(kind, left, right, tolerance)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return bool(end.value)


def _compare_output(kind: str, left: bytes, right: bytes, tolerance: float) -> Steps:
    try:
        if kind in (Kind.TEXT_EMBEDDING, Kind.TENSOR):
            return (yield from _compare_tensors(decode_tensors(left), decode_tensors(right), tolerance))
        if kind == Kind.FILE_TYPE:
            return _same_label(decode_label(left), decode_label(right), tolerance)
        if kind == Kind.IMAGE_OCR:
            return _same_lines(decode_lines(left), decode_lines(right), tolerance)
    except (InputError, ValueError, TypeError, OverflowError):
        pass  # at least one of them is no output of this kind: what is not the same does not agree
    return False


# -- tensors ----------------------------------------------------------------------------------------------------------


def _compare_tensors(left: Sequence[Tensor], right: Sequence[Tensor], tolerance: float) -> Steps:
    if [(one.name, one.dtype, one.shape) for one in left] != [(one.name, one.dtype, one.shape) for one in right]:
        return False
    for one, other in zip(left, right, strict=True):
        if one.data == other.data:
            continue
        if one.dtype not in FLOATS:
            return False
        if not (yield from _compare_floats(one, other, max(tolerance, _COARSE.get(one.dtype, 0.0)))):
            return False
    return True


def _compare_floats(left: Tensor, right: Tensor, tolerance: float) -> Steps:
    """Compare the elements in two passes: the largest of all decides how far any two may lie apart."""
    size = ITEM_SIZES_BYTES[left.dtype]
    step = STEP_ELEMENTS * size
    largest = 0.0
    apart = 0.0
    for at in range(0, len(left.data), step):
        one, other = (_floats(tensor.dtype, tensor.data[at : at + step]) for tensor in (left, right))
        if not (math.isfinite(sum(one)) and math.isfinite(sum(other))):
            pairs = [(x, y) for x, y in zip(one, other, strict=True) if math.isfinite(x) and math.isfinite(y)]
            if not all(_same_special(x, y) for x, y in zip(one, other, strict=True)):
                return False
            one, other = [x for x, _ in pairs], [y for _, y in pairs]
        if one:
            largest = max(largest, max(map(abs, one)), max(map(abs, other)))
            apart = max(apart, max(map(abs, map(sub, one, other))))
        yield
    return apart <= tolerance * largest


def _same_special(left: float, right: float) -> bool:
    """Tell whether two elements are both finite, both NaN or the same infinity."""
    if math.isfinite(left) or math.isfinite(right):
        return math.isfinite(left) and math.isfinite(right)
    return left == right or (math.isnan(left) and math.isnan(right))


def _floats(dtype: str, data: bytes | memoryview) -> Sequence[float]:
    if dtype == "float16":
        return unpack(f"<{len(data) // 2}e", data)
    if dtype == "bfloat16":
        dtype, data = "float32", widened(data)
    values = array(_CODES[dtype])
    values.frombytes(data)
    if sys.byteorder == "big":
        values.byteswap()
    return values


# -- labels and texts -------------------------------------------------------------------------------------------------


def _same_label(left: Label, right: Label, tolerance: float) -> bool:
    named = (left.label, left.mime, left.group) == (right.label, right.mime, right.group)
    return named and _near(left.score, right.score, tolerance)


def _same_lines(left: Sequence[Line], right: Sequence[Line], tolerance: float) -> bool:
    return len(left) == len(right) and all(
        _same_line(one, other, tolerance) for one, other in zip(left, right, strict=True)
    )


def _same_line(left: Line, right: Line, tolerance: float) -> bool:
    return (
        left.text == right.text
        and all(_near(edge, other, BOX_PIXELS_MAX) for edge, other in zip(left.box, right.box, strict=True))
        and _near(left.confidence, right.confidence, 10 * tolerance)
    )


def _near(left: float, right: float, distance: float) -> bool:
    return abs(left - right) <= distance
