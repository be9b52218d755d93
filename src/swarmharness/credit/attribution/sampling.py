"""Shapley values from seeded permutations, the same integers on every machine; needs numpy, holds no rounding.

The stream is SHAKE-256 over a counter, since `numpy.random` may change between versions; orders come from a stable
sort; all sums are 64-bit integers. Each permutation is followed by its reverse (antithetic), and every player's gains
are averaged per position before the positions are averaged (post-stratified), which removes the noise of who came when.
"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import log, sqrt

import numpy as np
import numpy.typing as npt

from swarmharness.credit.attribution.closed_form import Values
from swarmharness.credit.attribution.games import CappedGame
from swarmharness.credit.attribution.table import TableGame

DOMAIN = b"swarmharness/attribution/permutation\x00"
CONFIDENCE_MISS = 1e-6
_BLOCK_ENTRIES = 2**18
_SCALE = 2**64

Integers = npt.NDArray[np.int64]
SampledGame = CappedGame | TableGame


def sampled_values(game: SampledGame, seed: bytes, permutations: int) -> Values:
    """Return each player's estimated value, equal for symmetric players (C-2), zero for null players.

    A player that never came at some position is averaged over the positions at which it came.
    """
    totals, counts = _tallies(game, seed, permutations)
    values = [_average(total, count) for total, count in zip(totals.tolist(), counts.tolist(), strict=True)]
    names = game.players
    estimates: Values = {}
    for alike in _symmetric_classes(game):
        mean = sum(values[names.index(name)] for name in alike) // len(alike)
        estimates.update(dict.fromkeys(alike, Fraction(mean, _SCALE)))
    return estimates


def stated_error(game: SampledGame, seed: bytes, permutations: int) -> dict[str, float]:
    """Return how far each player's estimate may lie from its value, all at once, except with probability 10^-6.

    Hoeffding's inequality for a mean of means: r·sqrt(ln(2n/δ)/m), r the player's largest possible gain, m the
    effective number of permutations n²/Σ(1/count), where a permutation and its reverse are one draw.
    """
    _, counts = _tallies(game, seed, permutations)
    players = len(game.players)
    errors = {}
    for name, row in zip(game.players, counts.tolist(), strict=True):
        seen = [count for count in row if count]
        effective = len(seen) ** 2 / sum(1 / count for count in seen)
        errors[name] = _largest_gain(game, name) * sqrt(log(2 * players / CONFIDENCE_MISS) / effective)
    return errors


def permutation_block(seed: bytes, first: int, pairs: int, players: int) -> Integers:
    """Return permutations number 2·first to 2·(first + pairs) - 1, a row each: who comes first, second, ….

    Pair j sorts the big-endian 64-bit keys of SHAKE-256(domain ‖ len(seed) as u8 ‖ seed ‖ j as u64), one key a player
    in the order of names; equal keys keep that order. The second of the pair is the reverse of the first.
    """
    prefix = DOMAIN + bytes([len(seed)]) + seed
    stream = b"".join(
        hashlib.shake_256(prefix + number.to_bytes(8, "big")).digest(8 * players)
        for number in range(first, first + pairs)
    )
    keys = np.frombuffer(stream, dtype=">u8").reshape(pairs, players).astype(np.uint64)
    forward = np.argsort(keys, axis=1, kind="stable")
    both = np.empty((2 * pairs, players), dtype=np.int64)
    both[0::2] = forward
    both[1::2] = forward[:, ::-1]
    return both


def _tallies(game: SampledGame, seed: bytes, permutations: int) -> tuple[npt.NDArray[np.object_], Integers]:
    """Return, per player and position, the sum of gains (unbounded integers) and how often the player came there."""
    players = len(game.players)
    totals = np.zeros((players, players), dtype=object)
    counts = np.zeros((players, players), dtype=np.int64)
    block_pairs = max(1, min(_BLOCK_ENTRIES // players, 2**13) // 2)
    positions = np.arange(players)
    done = 0
    while done < permutations:
        pairs = min(block_pairs, (permutations - done + 1) // 2)
        orders = permutation_block(seed, done // 2, pairs, players)[: permutations - done]
        sums = np.zeros((players, players), dtype=np.int64)
        cells = (orders, np.broadcast_to(positions, orders.shape))
        np.add.at(sums, cells, _gains(game, orders))
        np.add.at(counts, cells, 1)
        totals += sums.astype(object)
        done += len(orders)
    return totals, counts


def _gains(game: SampledGame, orders: Integers) -> Integers:
    worth = _capped_worth(game, orders) if isinstance(game, CappedGame) else _table_worth(game, orders)
    gains = worth.copy()
    gains[:, 1:] -= worth[:, :-1]
    return gains


def _capped_worth(game: CappedGame, orders: Integers) -> Integers:
    capacities = np.array([min(game.capacity[name], game.demand) for name in game.players], dtype=np.int64)
    return np.minimum(np.cumsum(capacities[orders], axis=1), game.demand)


def _table_worth(game: TableGame, orders: Integers) -> Integers:
    rows = np.arange(len(orders))
    arrival = np.empty_like(orders)
    np.put_along_axis(arrival, orders, np.broadcast_to(np.arange(orders.shape[1]), orders.shape), axis=1)
    index = {name: number for number, name in enumerate(game.players)}
    worth = np.zeros_like(orders)
    for coalition, value in game.essential().items():
        if coalition:
            complete = arrival[:, [index[name] for name in sorted(coalition)]].max(axis=1)
            worth[rows, complete] = np.maximum(worth[rows, complete], value)
    return np.maximum.accumulate(worth, axis=1)


def _average(totals: list[int], counts: list[int]) -> int:
    means = [total * _SCALE // count for total, count in zip(totals, counts, strict=True) if count]
    return sum(means) // len(means)


def _largest_gain(game: SampledGame, name: str) -> int:
    if isinstance(game, CappedGame):
        return min(game.capacity[name], game.demand)
    return max((value for coalition, value in game.values.items() if name in coalition), default=0)


def _symmetric_classes(game: SampledGame) -> list[list[str]]:
    classes: list[list[str]] = []
    for name in game.players:
        alike = next((known for known in classes if _are_symmetric(game, known[0], name)), None)
        if alike is None:
            classes.append([name])
        else:
            alike.append(name)
    return classes


def _are_symmetric(game: SampledGame, one: str, other: str) -> bool:
    if isinstance(game, CappedGame):
        return min(game.capacity[one], game.demand) == min(game.capacity[other], game.demand)
    swap = {one: other, other: one}
    listed = game.essential()
    return all(
        listed.get(frozenset(swap.get(name, name) for name in coalition)) == value
        for coalition, value in listed.items()
        if (one in coalition) != (other in coalition)
    )
