from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from swarmharness.errors import DeadlineError, PeerLostError, RefusedError
from swarmharness.identity import PeerId
from swarmharness.jobs.alarms import Alarms
from swarmharness.jobs.hedging import HedgedTasks
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.hedging import HedgeBudget
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.router import Choice, Router
from swarmharness.simulation.memory_swarm import memory_swarm

POLICY = RoutingPolicy(hedge_least_ms=1_000, explore_share=0)
"""What is predicted of a memory node is far less, so every task is late after one second."""


@dataclass
class Script:
    """A `TaskRunner` in which each peer takes its time and then answers or fails."""

    after_s: dict[PeerId, float]
    failures: dict[PeerId, Exception] = field(default_factory=dict)
    asked: list[PeerId] = field(default_factory=list)
    cancelled: list[PeerId] = field(default_factory=list)

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        self.asked.append(peer_id)
        try:
            with trio.move_on_after(timeout_s):
                await trio.sleep(self.after_s[peer_id])
                if peer_id in self.failures:
                    raise self.failures[peer_id]
                return TaskAnswer(peer_id, (), 1, 0, 1, "")
        except trio.Cancelled:
            self.cancelled.append(peer_id)
            raise
        raise DeadlineError("late")


@dataclass
class Hedging:
    router: Router
    first: Choice
    second: Choice
    alarms: Alarms
    dropped: list[TaskAnswer] = field(default_factory=list)

    async def run(self, script: Script, *, items: int = 1, budget: HedgeBudget | None = None) -> TaskAnswer:
        tasks = HedgedTasks(self.router, script, budget or HedgeBudget(), self.alarms, drop=self.dropped.append)
        return await tasks.run(self.first.peer_id, self.first.skill, (b"x",) * items, timeout_s=30)


@asynccontextmanager
async def hedging(policy: RoutingPolicy = POLICY) -> AsyncIterator[Hedging]:
    async with memory_swarm(3, serving=2) as nodes, trio.open_nursery() as nursery:
        router = nodes[0].parts.router
        router.set_policy(policy)
        first, second = await router.choose("echo")
        alarms = Alarms()
        nursery.start_soon(alarms.run)
        yield Hedging(router, first, second, alarms)
        nursery.cancel_scope.cancel()


async def test_the_second_copy_of_a_late_task_answers_and_the_first_is_cancelled(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        script, started_s = Script({first: 20, second: 2}), trio.current_time()
        assert (await world.run(script)).peer_id == second
        assert trio.current_time() - started_s == pytest.approx(3)
        assert script.asked == [first, second]
        assert script.cancelled == [first]


async def test_a_task_that_is_answered_in_time_has_no_second_copy(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        script = Script({world.first.peer_id: 0.9})
        assert (await world.run(script)).peer_id == world.first.peer_id
        assert script.asked == [world.first.peer_id]


async def test_a_first_copy_that_answers_after_all_ends_the_second(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        script = Script({first: 2, second: 20})
        assert (await world.run(script)).peer_id == first
        assert script.cancelled == [second]


async def test_a_failure_in_time_is_raised_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        script = Script({world.first.peer_id: 0.1}, {world.first.peer_id: PeerLostError("gone")})
        with pytest.raises(PeerLostError):
            await world.run(script)
        assert script.asked == [world.first.peer_id]


async def test_if_both_copies_fail_the_failure_of_the_first_is_raised(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        failures: dict[PeerId, Exception] = {first: PeerLostError("gone"), second: RefusedError("busy")}
        for second_s in (1, 10):
            script = Script({first: 5, second: second_s}, failures)
            with pytest.raises(PeerLostError):
                await world.run(script)
            assert script.asked == [first, second]


async def test_a_second_copy_goes_on_when_the_first_fails(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        script = Script({first: 5, second: 10}, {first: PeerLostError("gone")})
        assert (await world.run(script)).peer_id == second
        assert script.cancelled == []


async def test_whoever_gives_the_task_up_ends_both_copies(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        script = Script({world.first.peer_id: 20, world.second.peer_id: 20})
        with trio.move_on_after(5):
            await world.run(script)
        assert sorted(script.cancelled) == sorted((world.first.peer_id, world.second.peer_id))


async def test_an_error_in_the_program_in_a_second_copy_is_raised_where_the_task_was_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        script = Script({first: 20, second: 1}, {second: ZeroDivisionError()})
        with pytest.raises(ZeroDivisionError):
            await world.run(script)
        assert script.cancelled == [first]


async def test_an_answer_that_comes_with_the_other_is_dropped_once(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        first, second = world.first.peer_id, world.second.peer_id
        answer = await world.run(Script({first: 3, second: 2}))
        assert [answer.peer_id, *(late.peer_id for late in world.dropped)] in (
            [first, second],
            [second, first],
            [first],
            [second],
        )
        assert len(world.dropped) <= 1


@pytest.mark.parametrize(
    ("policy", "items"),
    [(POLICY, 5), (RoutingPolicy(hedge_least_ms=1_000, hedge_share=0), 1)],
    ids=["a chunk of a large job", "no budget"],
)
async def test_what_gets_no_second_copy(
    policy: RoutingPolicy, items: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with hedging(policy) as world:
        script = Script({world.first.peer_id: 20, world.second.peer_id: 0})
        assert (await world.run(script, items=items)).peer_id == world.first.peer_id


async def test_a_spent_budget_lets_late_tasks_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with hedging() as world:
        budget = HedgeBudget()
        script = Script({world.first.peer_id: 20, world.second.peer_id: 1})
        asked = [(await world.run(script, budget=budget)).peer_id for _ in range(3)]
        assert asked == [world.second.peer_id, world.first.peer_id, world.first.peer_id]
