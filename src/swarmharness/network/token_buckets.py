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
        self._full_at: OrderedDict[str, int] = OrderedDict()
        """When each bucket will be full again, in millionths of a token that would have come by then since time 0."""

    def has(self, key: str, tokens: int, now_us: int) -> bool:
        """Tell whether so many tokens could be taken."""
        now = now_us * self.per_s
        return max(self._full_at.get(key, now), now) + tokens * 1_000_000 <= now + self._full

    def wait_us(self, key: str, tokens: int, now_us: int) -> int:
        """Return how long it takes until so many tokens, no more than `burst`, are there: 0 if they are."""
        now = now_us * self.per_s
        lacking = max(self._full_at.get(key, now), now) + tokens * 1_000_000 - (now + self._full)
        return max(0, -(-lacking // self.per_s))

    def take(self, key: str, tokens: int, now_us: int) -> bool:
        """Take tokens, all or none; tell whether they were there."""
        full_at, now = self._full_at, now_us * self.per_s
        before = full_at.get(key, now)
        if before < now:
            before = now
        elif before > now + self._full:  # the clock went back
            before = now + self._full
        after = before + tokens * 1_000_000
        enough = after <= now + self._full
        full_at[key] = after if enough else before
        full_at.move_to_end(key)
        oldest = next(iter(full_at))
        if len(full_at) > KEYS_MAX or full_at[oldest] <= now:
            del full_at[oldest]
        return enough
