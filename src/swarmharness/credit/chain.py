"""Chains of half-entries: the next place, whether two halves link, whether they prove a fork; pure, it never signs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from swarmharness.credit.receipt import ZERO_DIGEST, Half, link_digest

LEAP_LEAST = 1 << 20
"""More halves than a disk that lies about what it has written can lose: some minutes of the fastest signing."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a signer's next half goes: chains are per (key, incarnation), numbered from 0, with gaps only by `leap`."""

    incarnation: int
    number: int
    previous: bytes


def opening(highest_known_incarnation: int, unix_us: int) -> Place:
    """Return the first place of a new incarnation.

    The incarnation is the current microsecond, or one more than the highest that anyone remembers: even a node that
    lost everything and finds nobody to ask never opens one incarnation twice, unless its clock was set back.
    """
    return Place(max(highest_known_incarnation + 1, unix_us), 0, ZERO_DIGEST)


@dataclass(frozen=True, slots=True)
class Floor:
    """In this incarnation of its own chain, a node signs no lower number any more."""

    incarnation: int
    number: int


def leap(half: Half, unix_us: int) -> Floor:
    """Return where a chain goes on after a disk may have lost what followed `half` (C-17).

    It is the age of the incarnation in microseconds, and at least `LEAP_LEAST` further on. A chain grows by less than
    one half a microsecond, so no number that was ever signed comes again, unless a disk loses more than `LEAP_LEAST`
    halves and the clock was set back as well.
    """
    content = half.content
    return Floor(content.incarnation, max(content.number + 1 + LEAP_LEAST, unix_us - content.incarnation))


def place_of(half: Half) -> tuple[int, int]:
    """Return the incarnation and number of a half, in the order in which halves are signed."""
    return half.content.incarnation, half.content.number


def place_after(half: Half) -> Place:
    """Return the place that follows `half` in its chain."""
    content = half.content
    return Place(content.incarnation, content.number + 1, link_digest(content))


def is_successor(earlier: Half, later: Half) -> bool:
    """Tell whether `later` names `earlier` as its predecessor, in one chain."""
    place = place_after(earlier)
    content = later.content
    return content.signer == earlier.content.signer and (
        (content.incarnation, content.number, content.previous) == (place.incarnation, place.number, place.previous)
    )


def is_fork(one: Half, other: Half) -> bool:
    """Tell whether two halves, whose signatures the caller has verified, cannot both be honest.

    They claim one place of one chain with different contents. The same content signed again is no fork.
    """
    a, b = one.content, other.content
    return (a.signer, a.incarnation, a.number) == (b.signer, b.incarnation, b.number) and a != b


def highest(halves: Iterable[Half]) -> Half | None:
    """Return the half with the highest (incarnation, number): the head of its signer's chains."""
    return max(halves, key=lambda half: (half.content.incarnation, half.content.number), default=None)


def gaps(numbers: Iterable[int]) -> tuple[int, ...]:
    """Return the first missing number before each known number that has none; gaps are asked for, not punished."""
    known = set(numbers)
    return tuple(number - 1 for number in sorted(known) if number > 0 and number - 1 not in known)
