"""Token buckets, one for each key, in bounded memory; pure, time comes in as an argument."""

from __future__ import annotations

from collections import OrderedDict

KEYS_MAX = 8_192


class TokenBuckets:
    """Lets every key take `burst` tokens at once and `per_s` a second afterwards.

    Keys whose buckets are full again are forgotten. Of others at most `KEYS_MAX` are remembered: the one that was idle
    longest is forgotten, and has a full bucket again.
    """

    def __init__(self, *, per_s: int, burst: int) -> None:
        self.per_s, self.burst = per_s, burst
        self._full = burst * 1_000_000
        self._buckets: OrderedDict[str, tuple[int, int]] = OrderedDict()

    def has(self, key: str, tokens: int, now_us: int) -> bool:
        """Tell whether so many tokens could be taken."""
        return self._level(key, now_us) >= tokens * 1_000_000

    def take(self, key: str, tokens: int, now_us: int) -> bool:
        """Take tokens, all or none; tell whether they were there."""
        buckets, cost = self._buckets, tokens * 1_000_000
        level = self._level(key, now_us)
        enough = level >= cost
        buckets[key] = (level - cost if enough else level, now_us)
        buckets.move_to_end(key)
        oldest, (level, then_us) = next(iter(buckets.items()))
        if len(buckets) > KEYS_MAX or level + (now_us - then_us) * self.per_s >= self._full:
            del buckets[oldest]
        return enough

    def _level(self, key: str, now_us: int) -> int:
        bucket = self._buckets.get(key)
        if bucket is None:
            return self._full
        level, then_us = bucket
        if now_us > then_us:
            level += (now_us - then_us) * self.per_s
        return level if level < self._full else self._full
