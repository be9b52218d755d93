"""Chooses how a game is valued and turns it into shares; pure, and it loads numpy only for games without a formula."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never

from swarmharness.credit.attribution.capped import counted_values, is_countable
from swarmharness.credit.attribution.checks import ENUMERATED_PLAYERS_MAX
from swarmharness.credit.attribution.closed_form import Values, batch_values, pipeline_values, speculative_values
from swarmharness.credit.attribution.game_file import GameFile
from swarmharness.credit.attribution.games import (
    BatchGame,
    CappedGame,
    PipelineGame,
    SpeculativeGame,
)
from swarmharness.credit.attribution.shares import shares_of
from swarmharness.credit.attribution.table import TableGame

Method = Literal["closed-form", "exact", "sampled"]

_SEED_DOMAIN = b"swarmharness/attribution/seed\x00"
_NO_COMMITMENT = bytes(32)


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who gets how many micro-credits, and how that was computed."""

    shares: Mapping[str, int]
    method: Method
    permutations: int
    """How many were sampled; 0 for the other methods."""
    digest: bytes

    def as_dict(self) -> dict[str, Any]:
        """Return the output of `swarmharness credit attribute --json`."""
        return {
            "shares": dict(self.shares),
            "method": self.method,
            "permutations": self.permutations,
            "digest": self.digest.hex(),
        }


def attribute(file: GameFile) -> Attribution:
    """Return the shares of a game; the same file gives the same shares everywhere (C-3)."""
    values, method = values_of(file)
    permutations = file.permutations if method == "sampled" else 0
    return Attribution(shares_of(file.game.price, values), method, permutations, file.digest)


def values_of(file: GameFile) -> tuple[Values, Method]:
    """Return the values before rounding, and the method: a formula, else exact, else sampled."""
    match file.game:
        case BatchGame() as game:
            return batch_values(game), "closed-form"
        case SpeculativeGame() as game:
            return speculative_values(game), "closed-form"
        case PipelineGame() as game:
            return pipeline_values(game), "closed-form"
        case CappedGame() | TableGame() as game:
            return _without_formula(game, file)
        case _:
            assert_never(file.game)


def attribution_seed(task: bytes, digest: bytes, commitments: Mapping[str, bytes | None]) -> bytes:
    """Return the seed of a task's sampled attribution: nobody knows it before the last worker has committed.

    `commitments` has an entry for every ordered worker; 32 zero bytes stand for a missing one.
    """
    ordered = b"".join(commitments[peer] or _NO_COMMITMENT for peer in sorted(commitments))
    return hashlib.sha256(_SEED_DOMAIN + task + digest + ordered).digest()


def _without_formula(game: CappedGame | TableGame, file: GameFile) -> tuple[Values, Method]:
    from swarmharness.credit.attribution.exact import enumerated_values

    if len(game.players) <= ENUMERATED_PLAYERS_MAX:
        return enumerated_values(game), "exact"
    if isinstance(game, CappedGame) and is_countable(game):
        return counted_values(game), "exact"
    from swarmharness.credit.attribution.sampling import sampled_values

    return sampled_values(game, file.seed, file.permutations), "sampled"
