"""Paces what strangers ask about receipts: they wait for, or are refused, what their common budget does not hold.

It never looks into a request: what one costs the processor is estimated from its method and its length, before it is
decoded. Partners of this node do not come here.
"""

from __future__ import annotations

from collections import Counter

import trio

from swarmharness.credit.spread.messages import CHAINS_METHOD, FETCH_METHOD, OPEN_METHOD, RANGES_METHOD, SHOW_METHOD
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.identity import PeerId
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.network.turns import Turns
from swarmharness.ports import Clock

REQUEST_US = 300
"""About what any request costs: a task, a look-up, an answer."""
_US_A_KIB: dict[str, int] = {
    OPEN_METHOD: 60,
    CHAINS_METHOD: 5_000,
    RANGES_METHOD: 3_000,
    FETCH_METHOD: 3_000,
    SHOW_METHOD: 60,
}
"""About what a kibibyte of a request makes this node do: its short ids are looked up, its intervals compared, its
chains and receipts read from disk."""
_EVERYBODY = ""


def cost_us(method: str, size_bytes: int) -> int:
    """Estimate the processor time of a request."""
    return REQUEST_US + size_bytes * _US_A_KIB.get(method, 0) // 1024


class StrangersBudget:
    """The processor time that all strangers share; who waits for it does so in the order of arrival."""

    def __init__(self, settings: SpreadSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._work = TokenBuckets(per_s=settings.strangers_us_per_s, burst=settings.strangers_us_burst)
        self._turn = Turns()
        self._waiting: Counter[PeerId] = Counter()

    async def spend(self, peer: PeerId, method: str, size_bytes: int) -> bool:
        """Wait until a request may be worked on; returns whether it may be at all: too many wait otherwise."""
        work_us = min(cost_us(method, size_bytes), self._settings.strangers_us_burst)
        if not self._turn.full and self._work.take(_EVERYBODY, work_us, self._clock.monotonic_us()):
            return True
        settings = self._settings
        if self._turn.waiting >= settings.strangers_waiting_max or self._waiting[peer] >= settings.stranger_waiting_max:
            return False
        self._waiting[peer] += 1
        try:
            async with self._turn:
                while not self._work.take(_EVERYBODY, work_us, self._clock.monotonic_us()):
                    wait_us = self._work.wait_us(_EVERYBODY, work_us, self._clock.monotonic_us())
                    await trio.sleep(max(wait_us, 1_000) / 1e6)
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]
        return True
