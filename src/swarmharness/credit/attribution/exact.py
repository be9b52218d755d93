"""Shapley values by integer enumeration of all coalitions, for few players; needs numpy, holds no rounding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import factorial
from typing import assert_never

import numpy as np
import numpy.typing as npt

from swarmharness.credit.attribution.checks import ENUMERATED_PLAYERS_MAX
from swarmharness.credit.attribution.closed_form import Values
from swarmharness.credit.attribution.games import (
    BatchGame,
    CappedGame,
    Game,
    PipelineGame,
    SpeculativeGame,
)
from swarmharness.credit.attribution.table import TableGame

Integers = npt.NDArray[np.int64]


def enumerated_values(game: Game) -> Values:
    """Return each player's Shapley value over all 2^n coalitions; at most 14 players.

    φ_i = Σ_S s!(n-1-s)!/n!·(v(S ∪ i) - v(S)). Gains are added up per size in 64 bits (at most 2^13 of at most 2^48),
    weights are applied to Python's unbounded integers.
    """
    names = game.players
    worth = coalition_values(game)
    players = len(names)
    sizes = _bit_counts(players - 1)
    order = np.argsort(sizes, kind="stable")
    starts = np.searchsorted(sizes[order], np.arange(players))
    weights = [factorial(size) * factorial(players - 1 - size) for size in range(players)]
    values: Values = {}
    for index, name in enumerate(names):
        halves = worth.reshape(-1, 2, 2**index)
        gains = (halves[:, 1, :] - halves[:, 0, :]).reshape(-1)
        by_size = np.add.reduceat(gains[order], starts)
        total = sum(weight * int(gain) for weight, gain in zip(weights, by_size, strict=True))
        values[name] = Fraction(total, factorial(players))
    return values


def coalition_values(game: Game) -> Integers:
    """Return v of every coalition; bit k of the index says whether the k-th player (by name) is in it."""
    names = game.players
    if len(names) > ENUMERATED_PLAYERS_MAX:
        raise ValueError(f"{len(names)} players: at most {ENUMERATED_PLAYERS_MAX} are enumerated")
    coalitions = np.arange(2 ** len(names), dtype=np.int64)
    match game:
        case BatchGame():
            worth = np.zeros_like(coalitions)
            for chunk in game.chunks:
                present = sum(_membership(coalitions, names, name) for name in chunk.matching)
                worth += chunk.price * (present >= chunk.quorum)
            return worth
        case SpeculativeGame():
            worth = np.zeros_like(coalitions)
            for name, utility in game.utility.items():
                worth = np.maximum(worth, utility * _membership(coalitions, names, name))
            return worth
        case PipelineGame():
            worth = np.full_like(coalitions, game.price)
            for stage in game.stages:
                worth *= sum(_membership(coalitions, names, name) for name in stage.nodes) > 0
            return worth
        case CappedGame():
            total = sum(
                min(capacity, game.demand) * _membership(coalitions, names, name)
                for name, capacity in game.capacity.items()
            )
            return np.minimum(total, game.demand)
        case TableGame():
            return _table_values(game, names)
        case _:
            assert_never(game)


def _table_values(game: TableGame, names: Sequence[str]) -> Integers:
    worth = np.zeros(2 ** len(names), dtype=np.int64)
    bits = {name: 1 << index for index, name in enumerate(names)}
    for coalition, value in game.values.items():
        worth[sum(bits[name] for name in coalition)] = value
    for index in range(len(names)):  # the best of all subsets, one player at a time
        halves = worth.reshape(-1, 2, 2**index)
        np.maximum(halves[:, 1, :], halves[:, 0, :], out=halves[:, 1, :])
    return worth


def _membership(coalitions: Integers, names: Sequence[str], name: str) -> Integers:
    return coalitions >> names.index(name) & 1


def _bit_counts(bits: int) -> Integers:
    counts = np.zeros(1, dtype=np.int64)
    for _ in range(bits):
        counts = np.concatenate((counts, counts + 1))
    return counts
