"""Whether the game that a receipt names gives its worker its share; pure, and without numpy.

Games of the node's own tasks all have a formula. Capped and table games are recomputed by `credit audit` only.
"""

from __future__ import annotations

import hashlib

from swarmharness.credit.attribution.closed_form import Values, batch_values, pipeline_values, speculative_values
from swarmharness.credit.attribution.game_file import read_game
from swarmharness.credit.attribution.games import BatchGame, Game, PipelineGame, SpeculativeGame
from swarmharness.credit.attribution.shares import shares_of
from swarmharness.credit.receipt import ReceiptBody
from swarmharness.credit.terms import sole_game_text
from swarmharness.errors import InputError


def game_problem(body: ReceiptBody, text: bytes) -> str | None:
    """Return why the canonical game in `text` is not that of this receipt, or None."""
    if hashlib.sha256(text).digest() != body.game_digest:
        return "the game has another digest"
    try:
        game = read_game(text).game
        if game.price != body.price_microcredits:
            return f"the game is about {game.price} micro-credits, the receipt about {body.price_microcredits}"
        values = _values(game)
        if values is None:
            return f"a {game.kind} game has no formula"
        share = shares_of(game.price, values).get(body.worker)
    except InputError as error:
        return str(error)
    if share != body.share_microcredits:
        return f"by its game the worker gets {share}, by the receipt {body.share_microcredits}"
    return None


def single_game_text(body: ReceiptBody) -> bytes | None:
    """Return the canonical game of a receipt for one task that one worker did alone; it is kept nowhere else."""
    text = sole_game_text(body.worker, (body.share_microcredits,))
    return text if hashlib.sha256(text).digest() == body.game_digest else None


def players_of(text: bytes) -> tuple[str, ...]:
    """Return who took part in a canonical game; raises InputError if it is none."""
    return read_game(text).game.players


def _values(game: Game) -> Values | None:
    if isinstance(game, BatchGame):
        return batch_values(game)
    if isinstance(game, SpeculativeGame):
        return speculative_values(game)
    if isinstance(game, PipelineGame):
        return pipeline_values(game)
    return None
