"""Range-based set reconciliation, both sides' decisions; pure, it never sends and never trusts what it is told.

After Meyer, "Range-Based Set Reconciliation" (2023), but only one side asks: it names intervals in which the sets are
known to differ, and the other answers each with the fingerprints of up to 16 parts of it, or, if it has few keys there,
with their ids. So answering needs no memory of the asker, and what an asker can cause is bounded by what it sends.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.credit.spread.key_index import FINGERPRINT_BYTES, KEY_BYTES, KeyIndex

BRANCHES = 16
LEAF_KEYS_MAX = 32
ID_BYTES = 16
"""The epoch and 96 bits of the digest: whoever wants two receipts with one id must make both."""


@dataclass(frozen=True, slots=True)
class Interval:
    """The keys k with lower <= k < upper; bounds are beginnings of keys."""

    lower: bytes
    upper: bytes


@dataclass(frozen=True, slots=True)
class Expansion:
    """What one side has in an interval: fingerprints of its parts in order, or all ids if `fingerprints` is empty."""

    bounds: tuple[bytes, ...]
    """Where the second and further parts begin."""
    fingerprints: bytes
    ids: bytes


@dataclass(slots=True)
class Difference:
    """What a comparison found out."""

    intervals: list[Interval] = field(default_factory=list)
    """Where the sets differ, not yet known how."""
    missing: list[bytes] = field(default_factory=list)
    """Ids that only the other side has."""
    extra: list[bytes] = field(default_factory=list)
    """Keys that only this side has."""


def expand(index: KeyIndex, interval: Interval) -> Expansion:
    """Say what is in an interval of this side's set."""
    first, last = index.rank(interval.lower), index.rank(interval.upper)
    count = max(0, last - first)
    if count <= LEAF_KEYS_MAX:
        keys = index.keys(interval.lower, interval.upper) if count else []
        return Expansion((), b"", b"".join(key[:ID_BYTES] for key in keys))
    ranks = [first + part * count // BRANCHES for part in range(1, BRANCHES)]
    bounds = [separator(index.key_at(rank - 1), index.key_at(rank)) for rank in ranks]
    edges = [interval.lower, *bounds, interval.upper]
    prints = [index.summary(edges[at], edges[at + 1]).fingerprint for at in range(BRANCHES)]
    return Expansion(tuple(bounds), b"".join(prints), b"")


def compare(index: KeyIndex, interval: Interval, theirs: Expansion) -> Difference:
    """Return where this side's set differs from what the other side said; ValueError if it said nonsense."""
    if theirs.fingerprints:
        return _compare_parts(index, interval, theirs)
    if theirs.bounds or len(theirs.ids) % ID_BYTES or len(theirs.ids) > ID_BYTES * LEAF_KEYS_MAX:
        raise ValueError("an expansion with no fingerprints has at most 32 whole ids and no bounds")
    told = {theirs.ids[at : at + ID_BYTES] for at in range(0, len(theirs.ids), ID_BYTES)}
    if any(not interval.lower[:ID_BYTES] <= one < interval.upper for one in told):
        raise ValueError("an id lies outside the interval that was asked for")
    own = {key[:ID_BYTES]: key for key in index.keys(interval.lower, interval.upper)}
    return Difference(missing=sorted(told - own.keys()), extra=[key for one, key in own.items() if one not in told])


def separator(below: bytes, above: bytes) -> bytes:
    """Return the shortest beginning of `above` that is still above `below`."""
    length = next(at for at, (one, other) in enumerate(zip(below, above, strict=True)) if one != other)
    return above[: length + 1]


def _compare_parts(index: KeyIndex, interval: Interval, theirs: Expansion) -> Difference:
    parts = len(theirs.bounds) + 1
    edges = [interval.lower, *theirs.bounds, interval.upper]
    if not 2 <= parts <= BRANCHES or len(theirs.fingerprints) != parts * FINGERPRINT_BYTES or theirs.ids:
        raise ValueError("an expansion has 2 to 16 parts, and one fingerprint for each")
    if any(edges[at] >= edges[at + 1] or len(edges[at + 1]) > KEY_BYTES for at in range(parts)):
        raise ValueError("the bounds of an expansion do not ascend within the interval that was asked for")
    found = Difference()
    for at in range(parts):
        told = theirs.fingerprints[at * FINGERPRINT_BYTES : (at + 1) * FINGERPRINT_BYTES]
        if index.summary(edges[at], edges[at + 1]).fingerprint != told:
            found.intervals.append(Interval(edges[at], edges[at + 1]))
    return found
