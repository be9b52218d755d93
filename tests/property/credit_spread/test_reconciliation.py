"""Any two sets of keys become one by the pure functions, whatever they are, in bounded rounds and bytes."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.credit.spread.key_index import HIGHEST, LOWEST, KeyIndex, epoch_bound, key_of
from swarmharness.credit.spread.ranges import BRANCHES, ID_BYTES, Expansion, Interval, compare, expand

EVERYTHING = Interval(LOWEST, HIGHEST)


def key(number: int, epochs: int = 5) -> bytes:
    return key_of(500_000 + number % epochs, hashlib.sha256(b"%d" % number).digest())


keys = st.builds(key, st.integers(0, 2_000))
bounds = st.one_of(keys, st.builds(lambda k, n: k[:n], keys, st.integers(0, 36)))
expansions = st.builds(
    Expansion,
    st.lists(st.binary(max_size=40), max_size=18).map(tuple),
    st.binary(max_size=16 * 18),
    st.binary(max_size=16 * 34),
)


class Exchange:
    """Runs the asker against the answerer and counts what crosses between them."""

    def __init__(self, asker: KeyIndex, answerer: KeyIndex) -> None:
        self.missing: list[bytes] = []
        self.extra: list[bytes] = []
        self.bytes = 0
        self.rounds = 0
        pending = [EVERYTHING]
        while pending:
            self.rounds += 1
            found = []
            for interval in pending:
                answer = expand(answerer, interval)
                self.bytes += len(interval.lower) + len(interval.upper) + 6 + sum(len(b) + 2 for b in answer.bounds)
                self.bytes += len(answer.fingerprints) + len(answer.ids) + 8
                difference = compare(asker, interval, answer)
                found += difference.intervals
                self.missing += difference.missing
                self.extra += difference.extra
            pending = found


@given(st.sets(keys), st.sets(keys))
def test_any_two_sets_learn_their_exact_difference_c_19(mine: set[bytes], others: set[bytes]) -> None:
    exchange = Exchange(KeyIndex(mine), KeyIndex(others))
    assert sorted(exchange.missing) == sorted(key[:ID_BYTES] for key in others - mine)
    assert sorted(exchange.extra) == sorted(mine - others)


@given(st.sets(keys, min_size=1), st.integers(0, 3))
def test_bytes_grow_with_the_difference_and_rounds_with_the_logarithm(all_keys: set[bytes], seed: int) -> None:
    chance = random.Random(seed)
    dropped = set(chance.sample(sorted(all_keys), min(3, len(all_keys))))
    exchange = Exchange(KeyIndex(all_keys - dropped), KeyIndex(all_keys))
    assert exchange.rounds <= 5
    assert exchange.bytes <= 400 + len(dropped) * 3 * (16 * 28 + 40)


@settings(max_examples=200)
@given(st.sets(keys), expansions)
def test_a_hostile_answer_is_refused_or_names_only_smaller_intervals(mine: set[bytes], answer: Expansion) -> None:
    interval = Interval(epoch_bound(500_001), epoch_bound(500_004))
    try:
        found = compare(KeyIndex(mine), interval, answer)
    except ValueError:
        return
    assert len(found.intervals) <= BRANCHES
    assert len(found.missing) <= 32
    for part in found.intervals:
        assert interval.lower <= part.lower < part.upper <= interval.upper
        assert part != interval


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 600))), bounds, bounds)
def test_an_index_sums_up_as_a_plain_set_does(changes: list[tuple[bool, int]], lower: bytes, upper: bytes) -> None:
    index, plain = KeyIndex(), set[bytes]()
    for adds, number in changes:
        if adds:
            assert index.add(key(number)) == (key(number) not in plain)
            plain.add(key(number))
        else:
            bound = epoch_bound(500_000 + number % 3)
            index.drop_below(bound)
            plain = {one for one in plain if one >= bound}
    assert index.keys() == sorted(plain)
    inside = [one for one in sorted(plain) if lower <= one < upper]
    assert index.keys(lower, upper) == inside
    assert index.summary(lower, upper) == KeyIndex(inside).summary(LOWEST, HIGHEST)
    assert all(one in index for one in plain)


@pytest.mark.parametrize("count", [1, 127, 128, 129, 5_000])
def test_one_by_one_and_all_at_once_give_the_same_index(count: int) -> None:
    numbers = list(range(count))
    random.Random(count).shuffle(numbers)
    one_by_one = KeyIndex()
    for number in numbers:
        one_by_one.add(key(number))
    at_once = KeyIndex(key(number) for number in numbers)
    assert len(one_by_one) == len(at_once) == count
    assert one_by_one.keys() == at_once.keys()
    assert one_by_one.summary(LOWEST, HIGHEST) == at_once.summary(LOWEST, HIGHEST)
    assert [one_by_one.key_at(rank) for rank in range(count)] == at_once.keys()
