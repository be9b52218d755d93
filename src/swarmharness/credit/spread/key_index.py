"""A sorted set of receipt keys that sums up any interval in logarithmic time; pure, it never sees a receipt.

A key is `u32 epoch | digest`, big-endian, so that old receipts come first. Keys lie in blocks that carry their sums;
the sums over all blocks before one are worked out again only after a change, so a reconciliation rescans nothing.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

EPOCH_BYTES = 4
KEY_BYTES = EPOCH_BYTES + 32
FINGERPRINT_BYTES = 16
LOWEST = b""
HIGHEST = b"\xff" * EPOCH_BYTES
"""Above every key: no epoch is that late."""
_BLOCK_MOST = 128
_MODULUS = 1 << 256


@lru_cache(maxsize=16_384)
def key_of(epoch: int, digest: bytes) -> bytes:
    """Return the key of a receipt by its epoch and digest; it is asked for as long as the receipt is new, by many."""
    return epoch.to_bytes(EPOCH_BYTES, "big") + digest


def epoch_bound(epoch: int) -> bytes:
    """Return the bound below which all older epochs lie."""
    return max(0, epoch).to_bytes(EPOCH_BYTES, "big")


@dataclass(frozen=True, slots=True)
class Summary:
    """How many keys an interval has, and their sum modulo 2^256: equal sets give equal summaries."""

    count: int
    total: int

    @property
    def fingerprint(self) -> bytes:
        """16 bytes that differ if the sets do, but for a chance of 2^-128 against whoever does not choose digests."""
        text = self.count.to_bytes(8, "big") + self.total.to_bytes(32, "big")
        return hashlib.sha256(text).digest()[:FINGERPRINT_BYTES]


class KeyIndex:
    """The keys of one set. Adding, removing and summing up take about the same few microseconds at any size."""

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._blocks: list[list[bytes]] = []
        self._firsts: list[bytes] = []
        self._sums: list[int] = []
        self._before: tuple[list[int], list[int]] | None = None
        self.append(sorted(set(keys)))

    def append(self, keys: Sequence[bytes]) -> None:
        """Put in ascending keys that are all above those that are here."""
        half = _BLOCK_MOST // 2
        blocks = [list(keys[at : at + half]) for at in range(0, len(keys), half)]
        self._blocks += blocks
        self._firsts += [block[0] for block in blocks]
        self._sums += [_total(block) for block in blocks]
        self._before = None

    def __len__(self) -> int:
        return self._prefixes()[0][-1]

    def __contains__(self, key: bytes) -> bool:
        at = bisect_right(self._firsts, key) - 1
        if at < 0:
            return False
        block = self._blocks[at]
        place = bisect_left(block, key)
        return place < len(block) and block[place] == key

    def add(self, key: bytes) -> bool:
        """Put a key in; tell whether it is new."""
        if not self._blocks:
            self._blocks, self._firsts, self._sums, self._before = [[key]], [key], [_number(key)], None
            return True
        at = max(0, bisect_right(self._firsts, key) - 1)
        block = self._blocks[at]
        place = bisect_left(block, key)
        if place < len(block) and block[place] == key:
            return False
        block.insert(place, key)
        self._firsts[at] = block[0]
        self._sums[at] = (self._sums[at] + _number(key)) % _MODULUS
        self._before = None
        if len(block) > _BLOCK_MOST:
            self._split(at)
        return True

    def drop_below(self, bound: bytes) -> None:
        """Forget the keys below `bound`."""
        at = bisect_left(self._firsts, bound)
        if at == 0:
            return
        kept = self._blocks[at - 1][bisect_left(self._blocks[at - 1], bound) :]
        self._blocks[:at] = [kept] if kept else []
        self._firsts[:at] = [kept[0]] if kept else []
        self._sums[:at] = [_total(kept)] if kept else []
        self._before = None

    def summary(self, lower: bytes, upper: bytes) -> Summary:
        """Sum up the keys k with lower <= k < upper."""
        low_count, low_total = self._up_to(lower)
        high_count, high_total = self._up_to(upper)
        if high_count <= low_count:
            return Summary(0, 0)
        return Summary(high_count - low_count, (high_total - low_total) % _MODULUS)

    def keys(self, lower: bytes = LOWEST, upper: bytes = HIGHEST) -> list[bytes]:
        """Return the keys of an interval, in order."""
        first, last = self.rank(lower), self.rank(upper)
        return list(islice(self._from(first), max(0, last - first)))

    def rank(self, bound: bytes) -> int:
        """Return how many keys lie below `bound`."""
        at, place = self._find(bound)
        return self._prefixes()[0][at] + place

    def key_at(self, rank: int) -> bytes:
        """Return the key with so many keys below it; IndexError if there is none."""
        counts = self._prefixes()[0]
        if not 0 <= rank < counts[-1]:
            raise IndexError(rank)
        at = bisect_right(counts, rank) - 1
        return self._blocks[at][rank - counts[at]]

    def _from(self, rank: int) -> Iterator[bytes]:
        counts = self._prefixes()[0]
        if rank >= counts[-1]:
            return
        at = bisect_right(counts, rank) - 1
        yield from self._blocks[at][rank - counts[at] :]
        for block in self._blocks[at + 1 :]:
            yield from block

    def _find(self, bound: bytes) -> tuple[int, int]:
        """Return a block, and how many of its keys lie below `bound`; all of those in the blocks before it do."""
        at = max(0, bisect_left(self._firsts, bound) - 1)
        return at, bisect_left(self._blocks[at], bound) if self._blocks else 0

    def _up_to(self, bound: bytes) -> tuple[int, int]:
        at, place = self._find(bound)
        counts, totals = self._prefixes()
        block = self._blocks[at] if self._blocks else []
        if place * 2 <= len(block):
            return counts[at] + place, totals[at] + _total(block[:place])
        return counts[at] + place, totals[at + 1] - _total(block[place:])

    def _prefixes(self) -> tuple[list[int], list[int]]:
        if self._before is None:
            counts, totals = [0], [0]
            count = total = 0
            for block, part in zip(self._blocks, self._sums, strict=True):
                count += len(block)
                total += part
                counts.append(count)
                totals.append(total)
            self._before = counts, totals
        return self._before

    def _split(self, at: int) -> None:
        block = self._blocks[at]
        middle = len(block) // 2
        right = block[middle:]
        del block[middle:]
        self._blocks.insert(at + 1, right)
        self._firsts.insert(at + 1, right[0])
        moved = _total(right)
        self._sums[at] = (self._sums[at] - moved) % _MODULUS
        self._sums.insert(at + 1, moved)


def _number(key: bytes) -> int:
    return int.from_bytes(key[EPOCH_BYTES:], "big")


def _total(keys: Iterable[bytes]) -> int:
    return sum([int.from_bytes(key[EPOCH_BYTES:], "big") for key in keys])
