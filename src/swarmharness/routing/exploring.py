"""Decides which of the ranked candidates comes first: the best of a sample, or now and then a newcomer; pure."""

from __future__ import annotations

from collections.abc import Callable

from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy


def preferred(
    count: int, newcomers: Callable[[], list[int]], policy: RoutingPolicy, below: Callable[[int], int]
) -> int:
    """Return the place, in the order from the best on, of the candidate to prefer; `below` draws a number.

    `newcomers` returns the places of those that never answered and have nothing under way. Of several requesters with
    like accounts, all would take the same best candidate; the best of a sample is another one for each.
    """
    if policy.explore_share and below(MICRO) < round(policy.explore_share * MICRO):
        places = newcomers()
        if places:
            return places[below(len(places))]
    if 0 < policy.sample < count:
        return min(below(count) for _ in range(policy.sample))
    return 0
