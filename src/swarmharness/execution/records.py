"""Reads and writes the outputs that are records, the lines of an image and the type of a file; pure.

They are checked while they are decoded: what a peer sends can neither be of another shape nor grow beyond it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from swarmharness.errors import InputError
from swarmharness.protocol.places import DECODE_ERRORS

LINES_MAX = 2**16


class Line(NamedTuple):
    """A line of text in an image."""

    text: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom, in pixels of the upright image."""
    confidence: float


class Label(NamedTuple):
    """What a file is taken for."""

    label: str
    score: float
    mime: str
    group: str


T = TypeVar("T")

_lines: msgspec.msgpack.Decoder[list[Line]]
_lines = msgspec.msgpack.Decoder(Annotated[list[Line], msgspec.Meta(max_length=LINES_MAX)])
_label: msgspec.msgpack.Decoder[Label] = msgspec.msgpack.Decoder(Label)
_packed = msgspec.msgpack.Encoder().encode


def decode_lines(data: bytes) -> list[Line]:
    """Return the lines in an output; InputError for anything else."""
    lines = _decoded(_lines, data)
    if not all(math.isfinite(line.confidence) for line in lines):
        raise InputError("a confidence is not a finite number")
    return lines


def decode_label(data: bytes) -> Label:
    """Return the type of a file in an output; InputError for anything else."""
    label = _decoded(_label, data)
    if not math.isfinite(label.score):
        raise InputError("the score is not a finite number")
    return label


def encode_record(value: Any) -> bytes:
    """Return the bytes of an output that is a record."""
    return _packed(value)


def _decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    try:
        return decoder.decode(data)
    except DECODE_ERRORS as error:
        raise InputError(str(error)) from None
