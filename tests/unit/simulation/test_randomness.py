from __future__ import annotations

from swarmharness.simulation.randomness import LAWS, SeededRandomness


def test_equal_seeds_give_equal_numbers_on_every_version() -> None:
    randomness = SeededRandomness("a seed")
    drawn = [randomness.below(1000), randomness.exponential(1000), randomness.heavy(1000), randomness.pick(9)]
    assert drawn == EXPECTED
    assert SeededRandomness("a seed").token(4) == SeededRandomness("a seed").token(4)
    assert SeededRandomness("a seed").token(8) != SeededRandomness("another").token(8)


EXPECTED = [407, 686, 2590, 4]


def test_every_law_has_the_mean_that_was_asked_for() -> None:
    for law in LAWS:
        randomness = SeededRandomness(law)
        mean = sum(randomness.draw(law, 1_000_000) for _ in range(20_000)) / 20_000
        assert 900_000 < mean < 1_100_000, law


def test_heavy_tails_have_a_least_and_a_most() -> None:
    randomness = SeededRandomness("heavy")
    drawn = [randomness.heavy(1000) for _ in range(20_000)]
    assert min(drawn) >= 499
    assert max(drawn) <= 30_000
    assert max(drawn) > 10_000


def test_a_sample_is_ascending_without_repetition_and_never_larger_than_what_there_is() -> None:
    assert SeededRandomness("x").sample(5, 9) == [0, 1, 2, 3, 4]
    chosen = SeededRandomness("x").sample(100, 10)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 10


def test_a_chance_of_nothing_never_happens_and_of_a_thousand_always() -> None:
    randomness = SeededRandomness("chance")
    assert not any(randomness.chance(0) for _ in range(100))
    assert all(randomness.chance(1000) for _ in range(100))
