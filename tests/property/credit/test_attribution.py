"""What holds for every game: C-1 to C-3, against definitions written out without the code under test."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import combinations, pairwise, permutations
from math import factorial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from swarmharness.credit.attribution.attribute import attribute, values_of
from swarmharness.credit.attribution.capped import counted_values
from swarmharness.credit.attribution.closed_form import pipeline_values
from swarmharness.credit.attribution.exact import coalition_values, enumerated_values
from swarmharness.credit.attribution.game_file import GameFile
from swarmharness.credit.attribution.games import (
    BatchGame,
    CappedGame,
    Chunk,
    Game,
    PipelineGame,
    SpeculativeGame,
    Stage,
)
from swarmharness.credit.attribution.sampling import DOMAIN, sampled_values, stated_error
from swarmharness.credit.attribution.shares import shares_of
from swarmharness.credit.attribution.table import TableGame

NAMES = [f"peer-{number:02}" for number in range(40)]
amounts = st.integers(0, 10**6)


def names(fewest: int = 1, most: int = 6) -> st.SearchStrategy[list[str]]:
    return st.integers(fewest, most).map(lambda count: NAMES[:count])


@st.composite
def chunks(draw: st.DrawFn) -> Chunk:
    matching = draw(st.lists(st.sampled_from(NAMES[:6]), min_size=1, max_size=5, unique=True))
    return Chunk(draw(amounts), draw(st.integers(1, len(matching))), tuple(matching))


@st.composite
def batch_games(draw: st.DrawFn) -> BatchGame:
    parts = draw(st.lists(chunks(), min_size=1, max_size=4))
    return BatchGame(sum(chunk.price for chunk in parts), tuple(parts))


@st.composite
def speculative_games(draw: st.DrawFn) -> SpeculativeGame:
    utility = {name: draw(amounts) for name in draw(names())}
    return SpeculativeGame(draw(amounts) if any(utility.values()) else 0, utility)


@st.composite
def pipeline_games(draw: st.DrawFn, *, disjoint: bool = False) -> PipelineGame:
    stages, free = [], list(NAMES[:6])
    for _ in range(draw(st.integers(1, 3))):
        nodes = draw(st.lists(st.sampled_from(free), min_size=1, max_size=2, unique=True))
        stages.append(Stage(draw(st.integers(0, 9)), tuple(nodes)))
        if disjoint:
            free = [name for name in free if name not in nodes]
    price = draw(amounts) if any(stage.weight for stage in stages) else 0
    return PipelineGame(price, tuple(stages))


@st.composite
def capped_games(draw: st.DrawFn, fewest: int = 1, most: int = 6, largest: int = 30) -> CappedGame:
    capacity = {name: draw(st.integers(0, largest)) for name in draw(names(fewest, most))}
    demand = draw(st.integers(0, 3 * largest))
    return CappedGame(draw(amounts) if demand and any(capacity.values()) else 0, demand, capacity)


@st.composite
def table_games(draw: st.DrawFn, fewest: int = 1, most: int = 5, listed: int = 8) -> TableGame:
    players = draw(names(fewest, most))
    coalitions = draw(st.sets(st.frozensets(st.sampled_from(players), min_size=1, max_size=4), max_size=listed))
    values: dict[frozenset[str], int] = {}
    for coalition in sorted(coalitions, key=lambda found: (len(found), sorted(found))):
        values[coalition] = best_part(values, coalition) + draw(st.integers(0, 1000))
    return TableGame(draw(amounts) if any(values.values()) else 0, tuple(players), values)


games = st.one_of(batch_games(), speculative_games(), pipeline_games(), capped_games(), table_games())


def best_part(values: dict[frozenset[str], int], coalition: frozenset[str]) -> int:
    return max((value for part, value in values.items() if part <= coalition), default=0)


def file(game: Game, permutations: int = 64) -> GameFile:
    return GameFile(game, permutations, b"seed")


def worth(game: Game, coalition: frozenset[str]) -> int:
    """v(S), written out from DESIGN §9."""
    match game:
        case BatchGame():
            return sum(c.price for c in game.chunks if len(coalition & set(c.matching)) >= c.quorum)
        case SpeculativeGame():
            return max((game.utility[name] for name in coalition), default=0)
        case PipelineGame():
            return game.price * all(coalition & set(stage.nodes) for stage in game.stages)
        case CappedGame():
            return min(game.demand, sum(game.capacity[name] for name in coalition))
        case TableGame():
            return best_part(dict(game.values), coalition)


def shapley(game: Game) -> dict[str, Fraction]:
    """The textbook sum over coalitions."""
    players = game.players
    values = dict.fromkeys(players, Fraction(0))
    for name in players:
        others = [other for other in players if other != name]
        for size in range(len(players)):
            weight = Fraction(factorial(size) * factorial(len(players) - 1 - size), factorial(len(players)))
            for coalition in map(frozenset, combinations(others, size)):
                values[name] += weight * (worth(game, coalition | {name}) - worth(game, coalition))
    return values


def are_symmetric(game: Game, one: str, other: str) -> bool:
    rest = [name for name in game.players if name not in (one, other)]
    coalitions = (frozenset(c) for size in range(len(rest) + 1) for c in combinations(rest, size))
    return all(worth(game, c | {one}) == worth(game, c | {other}) for c in coalitions)


def is_null(game: Game, name: str) -> bool:
    rest = [other for other in game.players if other != name]
    coalitions = (frozenset(c) for size in range(len(rest) + 1) for c in combinations(rest, size))
    return all(worth(game, c | {name}) == worth(game, c) for c in coalitions)


@given(games)
def test_shares_add_up_to_the_price_exactly_c_1(game: Game) -> None:
    found = attribute(file(game))
    assert sum(found.shares.values()) == game.price
    assert min(found.shares.values()) >= 0
    assert tuple(found.shares) == game.players


@given(games)
def test_symmetric_players_differ_by_at_most_one_and_the_first_has_it_c_2(game: Game) -> None:
    found = attribute(file(game)).shares
    for one, other in combinations(game.players, 2):
        if are_symmetric(game, one, other) and not isinstance(game, PipelineGame):
            assert 0 <= found[one] - found[other] <= 1


@given(games)
def test_a_null_player_gets_nothing_c_2(game: Game) -> None:
    found = attribute(file(game)).shares
    for name in game.players:
        if is_null(game, name) and not isinstance(game, PipelineGame):
            assert found[name] == 0


@given(st.one_of(batch_games(), speculative_games(), capped_games(), table_games()))
def test_values_are_shapley_values(game: Game) -> None:
    assert values_of(file(game))[0] == shapley(game)


@given(st.one_of(batch_games(), speculative_games(), pipeline_games(), capped_games(), table_games()))
def test_enumeration_values_every_coalition_as_defined(game: Game) -> None:
    players = game.players
    for index, found in enumerate(coalition_values(game).tolist()):
        assert found == worth(game, frozenset(name for bit, name in enumerate(players) if index >> bit & 1))
    assert enumerated_values(game) == shapley(game)


@given(pipeline_games(disjoint=True))
def test_a_pipelines_value_is_the_two_level_value(game: PipelineGame) -> None:
    """A stage gets its weight's part; inside it, whoever comes first in an order does it."""
    values = dict.fromkeys(game.players, Fraction(0))
    weights = sum(stage.weight for stage in game.stages)
    assume(weights)
    for stage in game.stages:
        worth_of_stage = Fraction(game.price * stage.weight, weights)
        for order in permutations(stage.nodes):
            values[order[0]] += worth_of_stage / factorial(len(stage.nodes))
    assert pipeline_values(game) == values


@given(pipeline_games(disjoint=True).filter(lambda game: len({stage.weight for stage in game.stages}) == 1))
def test_with_equal_weights_it_is_owens_value(game: PipelineGame) -> None:
    """Owen's value is the mean gain over the orders in which every union arrives as one block."""
    assume(game.price)
    values = dict.fromkeys(game.players, Fraction(0))
    orders: list[list[str]] = []
    for stages in permutations(game.stages):
        made: list[list[str]] = [[]]
        for stage in stages:
            made = [[*before, *block] for before in made for block in permutations(stage.nodes)]
        orders += made
    for order in orders:
        for count in range(len(order)):
            gain = worth(game, frozenset(order[: count + 1])) - worth(game, frozenset(order[:count]))
            values[order[count]] += Fraction(gain, len(orders))
    assert pipeline_values(game) == values


@given(batch_games(), batch_games())
def test_values_of_batches_add_up_before_rounding(one: BatchGame, other: BatchGame) -> None:
    both = BatchGame(one.price + other.price, one.chunks + other.chunks)
    parts = values_of(file(one))[0], values_of(file(other))[0]
    for name, value in values_of(file(both))[0].items():
        assert value == parts[0].get(name, 0) + parts[1].get(name, 0)


@given(capped_games(most=4), speculative_games().filter(lambda game: len(game.utility) <= 4))
def test_values_of_any_two_games_add_up_before_rounding(one: CappedGame, other: SpeculativeGame) -> None:
    players = tuple(sorted({*one.players, *other.players}))
    coalitions = [frozenset(c) for size in range(1, len(players) + 1) for c in combinations(players, size)]
    listed = {c: worth(one, c & set(one.players)) + worth(other, c & set(other.players)) for c in coalitions}
    assume(any(listed.values()))
    values = enumerated_values(TableGame(1, players, listed))
    first, second = enumerated_values(one), enumerated_values(other)
    assert values == {name: first.get(name, 0) + second.get(name, 0) for name in players}


@given(capped_games(most=9))
def test_counting_coalitions_equals_enumerating_them(game: CappedGame) -> None:
    assume(game.demand)
    assert counted_values(game) == enumerated_values(game)


@settings(max_examples=30, deadline=None)
@given(capped_games(15, 24), st.binary(min_size=1, max_size=8))
def test_a_sample_lies_within_its_stated_error_of_exact(game: CappedGame, seed: bytes) -> None:
    assume(game.price)
    exact, sampled, error = counted_values(game), sampled_values(game, seed, 512), stated_error(game, seed, 512)
    for name in game.players:
        assert abs(float(exact[name] - sampled[name])) <= error[name] + 1e-9


@settings(max_examples=30, deadline=None)
@given(table_games(3, 8, 12), st.binary(min_size=1, max_size=8), st.integers(1, 300))
def test_a_sampled_table_lies_within_its_error_and_keeps_symmetry_and_null_players_c_2(
    game: TableGame, seed: bytes, count: int
) -> None:
    exact, sampled, error = enumerated_values(game), sampled_values(game, seed, count), stated_error(game, seed, count)
    for name in game.players:
        assert count < 50 or abs(float(exact[name] - sampled[name])) <= error[name] + 1e-9
        assert sampled[name] == 0 or not is_null(game, name)
    for one, other in combinations(game.players, 2):
        assert sampled[one] == sampled[other] or not are_symmetric(game, one, other)


def sampled_by_hand(game: CappedGame, seed: bytes, count: int) -> dict[str, Fraction]:
    """The published procedure (docs/credit-rules.md, C-3) without numpy."""
    players = game.players
    orders: list[list[int]] = []
    for number in range((count + 1) // 2):
        message = DOMAIN + bytes([len(seed)]) + seed + number.to_bytes(8, "big")
        stream = hashlib.shake_256(message).digest(8 * len(players))
        keys = [int.from_bytes(stream[8 * index : 8 * index + 8], "big") for index in range(len(players))]
        order = sorted(range(len(players)), key=keys.__getitem__)
        orders += [order, order[::-1]]
    cells: dict[tuple[int, int], list[int]] = {}
    for order in orders[:count]:
        reached = [min(game.demand, sum(game.capacity[players[p]] for p in order[:k])) for k in range(len(order) + 1)]
        for position, (before, after) in enumerate(pairwise(reached)):
            cells.setdefault((order[position], position), []).append(after - before)
    values = []
    for player in range(len(players)):
        means = [sum(g) * 2**64 // len(g) for k in range(len(players)) if (g := cells.get((player, k)))]
        values.append(sum(means) // len(means))
    alike: dict[int, list[int]] = {}
    for player, name in enumerate(players):
        alike.setdefault(min(game.capacity[name], game.demand), []).append(player)
    found = {}
    for same in alike.values():
        mean = sum(values[player] for player in same) // len(same)
        found.update({players[player]: Fraction(mean, 2**64) for player in same})
    return found


@settings(max_examples=20, deadline=None)
@given(capped_games(2, 12, 10**9), st.binary(min_size=1, max_size=64), st.integers(1, 90))
def test_the_sample_is_bit_for_bit_the_published_procedure_c_3(game: CappedGame, seed: bytes, count: int) -> None:
    assert sampled_values(game, seed, count) == sampled_by_hand(game, seed, count)


def test_a_sample_in_several_blocks_is_one_sample_c_3() -> None:
    game = CappedGame(1, 10**6, {name: 10**5 + index for index, name in enumerate(NAMES[:20])})
    assert sampled_values(game, b"s", 9_001) == sampled_by_hand(game, b"s", 9_001)


@given(st.dictionaries(st.sampled_from(NAMES), st.fractions(0, 1000, max_denominator=50), min_size=1), amounts)
def test_rounding_moves_nobody_by_a_whole_micro_credit_c_1(values: dict[str, Fraction], price: int) -> None:
    total = sum(values.values())
    assume(total)
    shares = shares_of(price, values)
    assert sum(shares.values()) == price
    for name, share in shares.items():
        assert abs(share - Fraction(price) * values[name] / total) < 1


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_remainder_goes_to_the_smallest_peer_ids(count: int) -> None:
    shares = shares_of(count + 1, dict.fromkeys(NAMES[:count], Fraction(1, 3)))
    assert list(shares.values()) == [2] + [1] * (count - 1)
