"""Decides about second copies of late requests: when one is late, and whether budget and load allow it; pure."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy

TOKENS_MOST_MICRO = 10 * MICRO
"""What a quiet time may save up: ten second copies."""


def late_after_us(predicted_us: int, policy: RoutingPolicy) -> int:
    """Return how long after it was sent a request is late.

    Service that varies as an exponential law ends within 3 times its mean in 95 of 100 cases, so 3 is about the
    95th percentile of what was predicted.
    """
    return max(round(policy.hedge_least_ms * 1000), round(predicted_us * policy.hedge_late))


@dataclass(slots=True)
class HedgeBudget:
    """Every request pays in a share of a second copy; a second copy costs one."""

    sent: int = 0
    """Second copies since the start."""
    _micro: int = MICRO

    def request(self, policy: RoutingPolicy) -> None:
        """A request was sent."""
        self._micro = min(TOKENS_MOST_MICRO, self._micro + round(policy.hedge_share * MICRO))

    def take(self, policy: RoutingPolicy, *, items: int, load_milli: int) -> bool:
        """Take the right to send one second copy; False if the budget, the load or the size forbids it.

        `load_milli` is the work under way for each slot, in thousandths. Chunks of large jobs are not copied here:
        their plan gives them to an idle peer.
        """
        if not policy.hedge_share or items > policy.hedge_items_most:
            return False
        if load_milli > round(policy.hedge_load_most * 1000) or self._micro < MICRO:
            return False
        self._micro -= MICRO
        self.sent += 1
        return True
