"""Numbers that depend on the seed alone: for nodes, and the distributions of load, work and sessions in integers.

Logarithms of floats differ in their last bits between machines, so these are computed on integers.
"""

from __future__ import annotations

import random
from math import isqrt

from swarmharness.routing.fixedpoint import ln_micro

_UNIT = 1 << 32
_QUANTILES = 4096
_EXPONENTIAL_MICRO = tuple(ln_micro(2 * _QUANTILES) - ln_micro(2 * number + 1) for number in range(_QUANTILES))
"""-ln of the middles of so many equal parts of (0, 1); their mean differs from 1 by 2e-5."""
LAWS = ("fixed", "exponential", "heavy")
"""`heavy` is a Pareto law of exponent 2, cut at 30 means: most sessions are short, and a few last for days."""
_HEAVY_MOST = 30


class SeededRandomness:
    """`Randomness` from a seed, with the distributions that a simulation draws from."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation must repeat itself

    def token(self, size_bytes: int) -> bytes:
        """See `Randomness`."""
        return self._random.randbytes(size_bytes)

    def below(self, limit: int) -> int:
        """See `Randomness`."""
        return self._random.randrange(limit)

    def chance(self, permille: int) -> bool:
        """Return True in so many of a thousand cases."""
        return permille > 0 and self._random.randrange(1000) < permille

    def exponential(self, mean: int) -> int:
        """Return an exponentially distributed integer."""
        return mean * _EXPONENTIAL_MICRO[self._random.getrandbits(12)] // 1_000_000

    def heavy(self, mean: int) -> int:
        """Return a Pareto distributed integer of exponent 2: at least half the mean, at most 30 means."""
        drawn = self._random.getrandbits(32) or 1
        # x = x_min / sqrt(u), and the mean is 2 x_min.
        return min(mean * isqrt(_UNIT << 32) // (2 * isqrt(drawn << 32)), _HEAVY_MOST * mean)

    def draw(self, law: str, mean: int) -> int:
        """Return a number by one of `LAWS`."""
        if law == "exponential":
            return self.exponential(mean)
        return self.heavy(mean) if law == "heavy" else mean

    def sample(self, count: int, most: int) -> list[int]:
        """Return `most` different numbers below `count`, ascending; all of them if there are fewer."""
        return sorted(self._random.sample(range(count), min(most, count)))

    def pick(self, count: int) -> int:
        """Return a number below `count`."""
        return self._random.randrange(count)
