from __future__ import annotations

import pytest

from swarmharness.simulation.adversaries import behaviour_of
from swarmharness.simulation.cheating import Cheat, Cheater
from swarmharness.simulation.randomness import SeededRandomness

ITEMS = (b"a", b"b", b"c", b"d")


def compute(item: bytes) -> bytes:
    return item * 16


@pytest.mark.parametrize("cheat", list(Cheat))
def test_every_cheat_answers_wrongly_and_none_works_more_than_an_honest_node(cheat: Cheat) -> None:
    cheater = Cheater(cheat, b"mark")
    cheater.remember(compute(b"earlier"))
    answers = cheater.answers(ITEMS, compute)
    assert len(answers) == len(ITEMS)
    assert answers != [compute(item) for item in ITEMS]
    assert 0 < cheater.work_permille(len(ITEMS)) <= 1000


def test_a_cartel_agrees_and_liars_apart_do_not() -> None:
    def answers(role: str, number: int) -> list[bytes]:
        cheater = behaviour_of(role, "group", number).cheater
        assert cheater is not None
        return cheater.answers(ITEMS, compute)

    assert answers("cartel", 0) == answers("cartel", 1)
    for role in ("wrong", "noise"):
        assert answers(role, 0) != answers(role, 1)


def test_noise_never_repeats_itself_and_stale_answers_do() -> None:
    noise, stale = Cheater(Cheat.NOISE, b"n"), Cheater(Cheat.STALE, b"s")
    stale.remember(compute(b"x"))
    assert noise.answers(ITEMS, compute) != noise.answers(ITEMS, compute)
    assert stale.answers(ITEMS, compute) == [compute(b"x")] * 4


def test_the_share_of_tasks_on_which_it_cheats_is_given() -> None:
    cheater = Cheater(Cheat.NOISE, b"n", 250, SeededRandomness("share"))
    assert sum(cheater.cheats_now() for _ in range(4000)) == pytest.approx(1000, abs=100)
    assert behaviour_of("honest", "group", 0).cheater is None
