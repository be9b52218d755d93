"""What a message class says of its fields beyond their types: limits, additions, embedding; pure, it checks nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self

INT64_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Size:
    """The most elements (of a tuple) or bytes (of a string, in UTF-8) that a field may have, and the fewest."""

    most: int
    fewest: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """The inclusive bounds of an integer field."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Added:
    """The field was appended by a later release: from a sender that does not know it, it has its default."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The field is a message of its own, as a byte string of its encoding; `most` is the most bytes."""

    most: int


class Remembering:
    """Room in a message for bytes that follow from its fields, so that they are worked out once; no part of its value.

    A message that is embedded in others keeps its own encoding there.
    """

    __slots__ = ("_derived",)

    _derived: bytes

    def derived(self, work_out: Callable[[Self], bytes]) -> bytes:
        """Return what `work_out` made of this message the first time; a type of message uses it for one thing only."""
        try:
            return self._derived
        except AttributeError:
            object.__setattr__(self, "_derived", work_out(self))
            return self._derived


Count = Annotated[int, Range(0, INT64_MAX)]
"""A non-negative 64-bit integer."""
Digest = Annotated[bytes, Size(32, 32)]
"""A SHA-256 digest."""
Signature = Annotated[bytes, Size(64, 64)]
"""An Ed25519 signature."""
PeerText = Annotated[str, Size(64, 1)]
"""A peer id in base58."""
