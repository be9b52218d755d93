"""Estimates what the calls on a channel cost the processor, and says whether it has to wait for its turn; pure.

`fair_turns.py` is below it: that measures what it takes to read a connection, whatever is on it.

Each peer has a leaky bucket, strangers also one together. Who owes no more than one turn reads on at once. The others
wait in a line: of known peers one goes on in each pass of the event loop, so that a pass is short however many there
are; of strangers, while others ask too, one at a time at the pace of the share that they have together.
"""

from __future__ import annotations

from dataclasses import dataclass

REQUEST_US = 40
"""About what a call costs beyond its bytes: a task woken, a handler, an answer."""
REFUSAL_US = 100
"""About what it costs more to refuse one, to count it and to say so."""
PING_US = 5
FRAME_US = 2
BYTES_PER_US = 256
"""About what decoding and handling of a payload reach."""


@dataclass(frozen=True, slots=True)
class WorkLimits:
    """Shares of the processor's time, as numbers up to 1."""

    turn_us: int = 2_000
    known_share: float = 0.5
    stranger_share: float = 0.05
    strangers_share: float = 0.25


class LeakyBucket:
    """What somebody owes, in microseconds of work; it is paid off as time goes by, and never above `most`."""

    __slots__ = ("_owed_us", "_share", "_then_s", "most_us")

    def __init__(self, share: float, most_us: int) -> None:
        self._share = share
        self.most_us = most_us
        self._owed_us = 0.0
        self._then_s = 0.0

    def pour(self, work_us: int, now_s: float) -> bool:
        """Add work; returns whether it fits, and is full otherwise."""
        paid_us = (now_s - self._then_s) * 1e6 * self._share
        self._then_s = now_s
        owed_us = max(0.0, self._owed_us - max(0.0, paid_us)) + work_us
        self._owed_us = min(owed_us, self.most_us)
        return owed_us <= self.most_us


class Workload:
    """The work of one peer's channel."""

    __slots__ = ("_common", "_limits", "_own")

    def __init__(self, limits: WorkLimits, common: LeakyBucket | None) -> None:
        """`common` is the bucket of all strangers; None for a peer that this node knows."""
        self._limits = limits
        self._common = common
        share = limits.known_share if common is None else limits.stranger_share
        self._own = LeakyBucket(share, limits.turn_us)

    def know(self) -> None:
        """Have the peer be no stranger from now on."""
        if self._common is not None:
            self._common = None
            self._own = LeakyBucket(self._limits.known_share, self._limits.turn_us)

    def goes_on(self, work_us: int, now_s: float) -> bool:
        """Note work; returns whether the peer may read on at once."""
        if not self._own.pour(work_us, now_s):
            return False
        return self._common is None or self._common.pour(work_us, now_s)
