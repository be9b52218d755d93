"""Values of the games that have a formula, as exact fractions before any rounding; pure."""

from __future__ import annotations

from fractions import Fraction

from swarmharness.credit.attribution.games import BatchGame, PipelineGame, SpeculativeGame

Values = dict[str, Fraction]
"""Each player's value φ; the values add up to what all players together are worth."""


def batch_values(game: BatchGame) -> Values:
    """Return the Shapley value of a sum of quorum games: in each chunk all replicas are symmetric."""
    values = dict.fromkeys(game.players, Fraction(0))
    for chunk in game.chunks:
        share = Fraction(chunk.price, len(chunk.matching))
        for name in chunk.matching:
            values[name] += share
    return values


def speculative_values(game: SpeculativeGame) -> Values:
    """Return the Shapley value of a maximum: each increment of utility is divided among those at or above it.

    Littlechild and Owen, "A Simple Expression for the Shapley Value in a Special Case", 1973 (the airport game).
    """
    values: Values = {}
    reached, value = 0, Fraction(0)
    ascending = sorted(game.utility.items(), key=lambda item: item[1])
    for below, (name, utility) in enumerate(ascending):
        value += Fraction(utility - reached, len(ascending) - below)
        reached = utility
        values[name] = value
    return values


def pipeline_values(game: PipelineGame) -> Values:
    """Return the two-level value: a stage gets its weight's part of the price, its nodes divide that equally.

    Inside a stage any one node suffices, so its nodes are symmetric (Owen, "Values of Games with a Priori Unions",
    1977, with the weights of the task between the unions).
    """
    values = dict.fromkeys(game.players, Fraction(0))
    weights = sum(stage.weight for stage in game.stages)
    for stage in game.stages:
        part = Fraction(game.price * stage.weight, weights * len(stage.nodes)) if weights else Fraction(0)
        for name in stage.nodes:
            values[name] += part
    return values
