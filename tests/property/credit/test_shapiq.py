"""The same games valued by shapiq, an independent implementation; skipped where it is not installed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings

from swarmharness.credit.attribution.attribute import values_of
from swarmharness.credit.attribution.games import Game
from tests.property.credit.test_attribution import (
    batch_games,
    capped_games,
    file,
    speculative_games,
    table_games,
    worth,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    shapiq: Any = pytest.importorskip("shapiq", reason="shapiq is not installed (pip install shapiq==1.4.1)")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", [batch_games, speculative_games, capped_games, table_games])
def test_values_equal_those_of_shapiqs_exact_computer(strategy: Any) -> None:
    @settings(max_examples=40, deadline=None)
    @given(strategy())
    def compare(game: Game) -> None:
        players = game.players

        def values(coalitions: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
            members = [frozenset(np.array(players)[row].tolist()) for row in coalitions.astype(bool)]
            return np.array([worth(game, coalition) for coalition in members], dtype=float)

        theirs = shapiq.ExactComputer(values, n_players=len(players))("SV", 1).get_n_order_values(1)
        ours = values_of(file(game))[0]
        assert np.allclose(theirs, [float(ours[name]) for name in players], rtol=1e-9, atol=1e-6)

    compare()
