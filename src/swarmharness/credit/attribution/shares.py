"""From values to integer shares that add up to the price exactly; pure."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import lcm

from swarmharness.errors import InputError


def shares_of(price_microcredits: int, values: Mapping[str, Fraction]) -> dict[str, int]:
    """Return each player's share: price x φ / Σφ, floored, then one more to the largest remainders (C-1).

    Ties go to the smaller peer id. So a null player gets 0, and symmetric players differ by at most one (C-2).
    """
    denominator = lcm(*(value.denominator for value in values.values()))
    weights = {name: value.numerator * (denominator // value.denominator) for name, value in values.items()}
    total = sum(weights.values())
    if price_microcredits == 0:
        return dict.fromkeys(sorted(weights), 0)
    if total <= 0 or min(weights.values()) < 0:
        raise InputError("nobody contributed a positive value, so the price cannot be shared")
    floors = {name: price_microcredits * weight // total for name, weight in weights.items()}
    remainders = {name: price_microcredits * weight % total for name, weight in weights.items()}
    left = price_microcredits - sum(floors.values())
    favoured = set(sorted(weights, key=lambda name: (-remainders[name], name))[:left])
    return {name: floors[name] + (name in favoured) for name in sorted(weights)}
