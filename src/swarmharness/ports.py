"""The ports that every service shares, clock and randomness, with the system's own adapters; no decisions here."""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time; the simulator gives each node one of its own, with skew."""

    def unix_us(self) -> int:
        """Microseconds since 1970 UTC, as this node believes; may jump."""

    def monotonic_us(self) -> int:
        """Microseconds since an arbitrary start; never goes back."""


class Randomness(Protocol):
    """Draws unpredictable numbers; the simulator's come from its one seed."""

    def token(self, size_bytes: int) -> bytes:
        """Return `size_bytes` random bytes."""

    def below(self, limit: int) -> int:
        """Return a uniform integer in [0, limit)."""


class SystemClock:
    """The machine's own clocks."""

    def unix_us(self) -> int:
        """See `Clock`."""
        return time.time_ns() // 1_000

    def monotonic_us(self) -> int:
        """See `Clock`."""
        return time.monotonic_ns() // 1_000


class SteadyTime:
    """Unix time as a clock showed it at the start, and what has passed since: nobody who sets the clock moves it.

    For what is to last so long, or is so old, while this process lives; `correction_us` brings such a time to disk.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_us = clock.unix_us() - clock.monotonic_us()

    def unix_us(self) -> int:
        """Microseconds since 1970 UTC, as this node believed at its start."""
        return self._start_us + self._clock.monotonic_us()

    def correction_us(self) -> int:
        """By how much the clock was set forward since the start."""
        return self._clock.unix_us() - self.unix_us()


class SystemRandomness:
    """The operating system's cryptographic generator."""

    def token(self, size_bytes: int) -> bytes:
        """See `Randomness`."""
        return secrets.token_bytes(size_bytes)

    def below(self, limit: int) -> int:
        """See `Randomness`."""
        return secrets.randbelow(limit)
