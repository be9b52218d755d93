"""Every kind of cheat is caught as often as docs/verification.md says: three standard deviations around the theory."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest
from trio.testing import MockClock

from swarmharness.errors import SwarmError
from swarmharness.jobs.messages import Output
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.simulation.cheating import Cheat, Cheater
from swarmharness.simulation.randomness import SeededRandomness
from tests.unit.verification.rig import SKILL, Town, Worker, honest

KINDS = [Cheat.NOISE, Cheat.STALE, Cheat.COPIED, Cheat.LAZY]
ITEMS = 4


def cheating(kind: Cheat, permille: int, seed: str) -> tuple[Worker, Callable[[], int]]:
    """Return a worker that cheats on a share of its tasks, and what counts those tasks."""
    cheater = Cheater(kind, b"mark", permille, SeededRandomness(seed))
    cheated = 0

    def work(items: tuple[bytes, ...]) -> list[bytes]:
        nonlocal cheated
        if cheater.cheats_now():
            cheated += 1
            return cheater.answers(items, lambda item: honest((item,))[0])
        answers = honest(items)
        cheater.remember(answers[-1])
        return answers

    return work, lambda: cheated


def within_three_sigma(found: int, trials: int, share: float) -> bool:
    return abs(found - trials * share) <= 3 * sqrt(trials * share * (1 - share)) + 1e-9


def task(trial: int, number: int) -> list[bytes]:
    return [f"{trial}/{number}/{part}".encode() for part in range(ITEMS)]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_new_peer_is_caught_before_anybody_gets_its_first_wrong_answer(
    autojump_clock: MockClock, kind: Cheat
) -> None:
    for trial in range(20):
        worker, cheated = cheating(kind, 300, f"{kind} {trial}")
        town = Town({"cheat": worker, "a": honest, "b": honest}, SeededRandomness(f"town {trial}"))
        async with town.checks() as (verification, checked):
            for number in range(9):
                answer = await town.submit(verification, checked, "cheat", task(trial, number))
                assert [output.data for output in answer.outputs] == honest(tuple(task(trial, number)))
                if cheated():
                    break
            assert verification.judging.standings.shunned("cheat", "s") == bool(cheated())
            assert town.invalid["cheat"] == min(1, cheated())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("permille", [50, 250, 1000])
async def test_a_proven_peer_that_cheats_on_a_share_loses_that_share_of_its_batches(
    autojump_clock: MockClock, kind: Cheat, permille: int
) -> None:
    trials, caught, cheated_on = 80, 0, 0.0
    settings = VerificationSettings(spot_checks=False)
    for trial in range(trials):
        worker, cheated = cheating(kind, permille, f"{kind} {trial}")
        town = Town({"cheat": worker, "a": honest, "b": honest}, SeededRandomness(f"town {trial}"), settings)
        async with town.checks() as (verification, checked):
            town.prove(verification, "cheat")
            for number in range(20):
                await town.submit(verification, checked, "cheat", task(trial, number))
            cheated_on += cheated() / 20
            await verification.finish()
            void = verification.judging.standings.shunned("cheat", "s")
            caught += void
            assert len(town.voided) == (20 if void else 0)
            assert town.paid_to("cheat") == (0 if void else 20)
            assert town.executed.total() == ITEMS * (22 if void else 21)
    assert within_three_sigma(caught, trials, cheated_on / trials)


@pytest.mark.parametrize("tasks", [1, 7, 15])
async def test_a_part_of_a_batch_is_checked_as_often_as_its_tasks_are_worth(
    autojump_clock: MockClock, tasks: int
) -> None:
    trials, caught = 150, 0
    settings = VerificationSettings(spot_checks=False)
    for trial in range(trials):
        worker, _ = cheating(Cheat.NOISE, 1000, f"part {trial}")
        town = Town({"cheat": worker, "a": honest, "b": honest}, SeededRandomness(f"part {tasks} {trial}"), settings)
        async with town.checks() as (verification, checked):
            town.prove(verification, "cheat")
            for number in range(tasks):
                await town.submit(verification, checked, "cheat", task(trial, number))
            await verification.finish()
            caught += verification.judging.standings.shunned("cheat", "s")
            assert town.paid_to("cheat") in (0, tasks)
    assert within_three_sigma(caught, trials, tasks / 20)


async def test_an_honest_peer_is_never_voided_and_costs_one_check_in_twenty(autojump_clock: MockClock) -> None:
    town = Town({"good": honest, "a": honest}, SeededRandomness("honest"), VerificationSettings(spot_checks=False))
    async with town.checks() as (verification, checked):
        town.prove(verification, "good")
        for number in range(1000):
            await town.submit(verification, checked, "good", task(0, number))
        await verification.finish()
    assert not town.voided
    assert town.executed == {"good": 1000 * ITEMS, "a": 50 * ITEMS}
    assert town.paid_to("good") == 1000
    assert town.paid_to("a") == 50
    assert {len(game.chunks) for game in town.games} == {20}


async def test_a_pair_in_league_escapes_as_often_as_it_is_drawn_for_both_sides(autojump_clock: MockClock) -> None:
    def league(items: tuple[bytes, ...]) -> list[bytes]:
        return [b"agreed lie " + item for item in items]

    trials, escaped = 250, 0
    for trial in range(trials):
        town = Town(
            {"x": league, "y": league, **dict.fromkeys(("a", "b", "c", "d", "e"), honest)},
            SeededRandomness(f"league {trial}"),
        )
        async with town.checks("always") as (verification, checked):
            answer = await town.submit(verification, checked, "x", task(trial, 0))
            escaped += answer.outputs[0].data.startswith(b"agreed")
    # x answers; y is the checker with probability 1/6, or the third after an honest second with 5/6 x 1/5.
    assert within_three_sigma(escaped, trials, 1 / 6 + 5 / 6 * 1 / 5)


async def test_spot_checks_find_who_spoils_the_item_that_is_known(autojump_clock: MockClock) -> None:
    """A worker that spoils one item of twenty in every task meets a known one with probability 1/20 x 1/21."""
    settings = VerificationSettings()

    def spoils(items: tuple[bytes, ...]) -> list[bytes]:
        return [b"junk"] * len(items)

    caught = 0
    for trial in range(60):
        town = Town({"cheat": spoils, "a": honest, "b": honest}, SeededRandomness(f"spot {trial}"), settings)
        async with town.checks() as (verification, checked):
            town.prove(verification, "cheat", 20)
            town.prove(verification, "a", 0)
            await town.submit(verification, checked, "a", task(trial, 99))  # confirmed by b, so known
            await verification.finish()
            for number in range(15):
                many = [f"{trial}/{number}/{part}".encode() for part in range(10)]
                answer = await town.submit(verification, checked, "cheat", many)
                if answer.outputs[0].data != b"junk":
                    caught += 1
                    assert [output.data for output in answer.outputs] == honest(tuple(many))
                    break
    assert within_three_sigma(caught, 60, 1 - (19 / 20) ** 15)


@pytest.mark.parametrize("certain", [True, False])
async def test_a_missed_spot_check_is_judged_by_others_unless_its_answer_is_certain(
    autojump_clock: MockClock, certain: bool
) -> None:
    town = Town({"good": honest, "a": honest}, SeededRandomness("poison"))
    async with town.checks() as (verification, checked):
        town.prove(verification, "good")
        key = (SKILL.model, b"")
        refused = 0
        for number in range(60):
            verification.judging.known.add(key, b"poisoned", Output(b"a lie", ""), seen=(), certain=certain)
            items = [f"{number}/{part}".encode() for part in range(10)]
            try:
                answer = await town.submit(verification, checked, "good", items)
            except SwarmError:
                refused += 1
                break
            assert [output.data for output in answer.outputs] == honest(tuple(items))
        assert refused == certain
        assert town.invalid["good"] == certain
