"""The Shapley value of a capped game of many players by counting coalitions; pure, exact, without enumerating them."""

from __future__ import annotations

from fractions import Fraction
from math import factorial

from swarmharness.credit.attribution.closed_form import Values
from swarmharness.credit.attribution.games import CappedGame

WORK_MAX = 2**22
"""Players squared times demand: about a second."""


def is_countable(game: CappedGame) -> bool:
    """Tell whether `counted_values` is affordable for this game."""
    return len(game.capacity) ** 2 * game.demand <= WORK_MAX


def counted_values(game: CappedGame) -> Values:
    """Return the exact values by the subset-sum dynamic programme.

    For a player with capacity c, φ = Σ over sizes s and sums t < D of N(s, t)·s!(n-1-s)!/n!·(min(D, t + c) - t), where
    N counts the coalitions of the others. One big integer holds all sums of one size, a slot each (Kronecker
    substitution), so that adding a player to every coalition is one shift, and leaving one out is one subtraction.
    """
    players = len(game.capacity)
    orders = factorial(players)
    slot = (orders.bit_length() // 8 + 1) * 8
    mask = (1 << slot * game.demand) - 1
    sizes = [1] + [0] * players  # one empty coalition, of sum 0
    for capacity in game.capacity.values():
        shift = slot * min(capacity, game.demand)
        for size in range(players, 0, -1):
            sizes[size] += sizes[size - 1] << shift & mask
    weights = [factorial(size) * factorial(players - 1 - size) for size in range(players)]
    by_capacity = {
        capacity: Fraction(_gain(sizes, weights, capacity, game.demand, slot), orders)
        for capacity in sorted(set(game.capacity.values()))
    }
    return {name: by_capacity[capacity] for name, capacity in game.capacity.items()}


def _gain(sizes: list[int], weights: list[int], capacity: int, demand: int, slot: int) -> int:
    mask = (1 << slot * demand) - 1
    shift = slot * min(capacity, demand)
    others, weighted = 0, 0
    for size, weight in enumerate(weights):
        others = sizes[size] - (others << shift & mask)
        weighted += others * weight
    counts = weighted.to_bytes(slot * demand // 8, "little")
    width = slot // 8
    return sum(
        int.from_bytes(counts[total * width : (total + 1) * width], "little") * min(capacity, demand - total)
        for total in range(demand)
    )
