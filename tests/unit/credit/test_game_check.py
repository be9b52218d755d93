from __future__ import annotations

import hashlib
from typing import Any

import pytest

from swarmharness.credit.attribution.games import BatchGame, Chunk, PipelineGame, SpeculativeGame, Stage, game_text
from swarmharness.credit.game_check import game_problem, players_of
from swarmharness.credit.receipt import ReceiptBody
from tests.unit.credit.builders import ALICE, BOB, CAROL, body

BOTH = (BOB.peer_id, CAROL.peer_id)


def naming(text: bytes, price: int, share: int, **changes: Any) -> ReceiptBody:
    """A receipt of Bob's for this share of a game."""
    digest = hashlib.sha256(text).digest()
    return body(game_digest=digest, price_microcredits=price, share_microcredits=share, **changes)


@pytest.mark.parametrize(
    ("text", "price", "share"),
    [
        (game_text(BatchGame(9, (Chunk(6, 2, BOTH), Chunk(3, 1, (BOB.peer_id,))))), 9, 6),
        (game_text(SpeculativeGame(100, {BOB.peer_id: 100, CAROL.peer_id: 80})), 100, 60),
        (game_text(PipelineGame(1_200, (Stage(1, BOTH), Stage(1, (ALICE.peer_id,))))), 1_200, 300),
    ],
)
def test_the_games_of_nodes_are_recomputed(text: bytes, price: int, share: int) -> None:
    assert game_problem(naming(text, price, share), text) is None
    assert f"the worker gets {share}, by the receipt {share - 1}" in str(
        game_problem(naming(text, price, share - 1), text)
    )
    assert f"about {price} micro-credits" in str(game_problem(naming(text, price + 1, share), text))
    assert BOB.peer_id in players_of(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"{}", '"game" is None'),
        (b"\xff", "not JSON"),
        (game_text(SpeculativeGame(9, {CAROL.peer_id: 5})), "gets None"),
        (b'{"chunks":[],"game":"batch","price":9}', "chunks"),
    ],
)
def test_what_is_no_game_or_without_the_worker_is_named(text: bytes, problem: str) -> None:
    assert problem in str(game_problem(naming(text, 9, 9), text))


def test_another_game_than_the_receipt_names_is_refused() -> None:
    one, other = (game_text(BatchGame(price, (Chunk(price, 1, (BOB.peer_id,)),))) for price in (9, 8))
    assert "another digest" in str(game_problem(naming(one, 9, 9), other))
