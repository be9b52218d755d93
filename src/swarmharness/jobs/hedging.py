"""Sends a second copy of a small task that is late to the next best peer, and takes the first answer.

It keeps to a budget, gives way under load (`routing/hedging.py` decides both) and never tries a third time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.alarms import Alarms
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.hedging import HedgeBudget, late_after_us
from swarmharness.routing.router import Choice, Router


class HedgedTasks:
    """A `TaskRunner` over another one; `budget` and `alarms` are shared by all jobs of the node.

    `drop` gets an answer that came too late to be taken, for example to release its price.
    """

    def __init__(
        self,
        router: Router,
        tasks: TaskRunner,
        budget: HedgeBudget,
        alarms: Alarms,
        *,
        drop: Callable[[TaskAnswer], None],
    ) -> None:
        self._router = router
        self._tasks = tasks
        self._budget = budget
        self._alarms = alarms
        self._drop = drop

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """See `TaskRunner`; if neither copy is answered, the failure of the first is raised."""
        policy = self._router.policy
        self._budget.request(policy)
        expected_us = self._router.expected_us(peer_id, skill.model, len(items), input_bytes=sum(map(len, items)))
        if (
            not self._router.hedges
            or not policy.hedge_share
            or len(items) > policy.hedge_items_most
            or expected_us is None
        ):
            return await self._tasks.run(peer_id, skill, items, timeout_s=timeout_s)
        late_s = late_after_us(expected_us, policy) / 1e6
        if late_s >= timeout_s:
            return await self._tasks.run(peer_id, skill, items, timeout_s=timeout_s)

        async def again() -> TaskAnswer | None:
            other = await self._next_best(peer_id, skill, len(items))
            if other is None:
                return None
            return await self._tasks.run(other.peer_id, other.skill, items, timeout_s=timeout_s - late_s)

        second = _SecondCopy(again)
        alarm = self._alarms.set(late_s, second.run)
        try:
            with second.rival:
                try:
                    return await self._tasks.run(peer_id, skill, items, timeout_s=timeout_s)
                except SwarmError:
                    await second.wait()
                    if second.failure is None and second.answer is None:
                        raise
            return second.take()
        finally:
            self._alarms.call_off(alarm)
            await second.end(self._drop)

    async def _next_best(self, peer_id: PeerId, skill: SkillAdvert, items: int) -> Choice | None:
        """Return whom to send a second copy to, if one may be sent.

        It has the same model, takes what the first takes, and costs no more than twice as much.
        """
        try:
            choices = await self._router.choose(
                skill.name, items, exclude=frozenset((peer_id,)), model_digest=skill.model_digest
            )
        except SwarmError:
            return None
        for choice in choices:
            cheap = choice.skill.price_microcredits <= 2 * skill.price_microcredits
            if cheap and choice.skill.takes(skill.parameters):
                load_milli = self._router.load_milli(skill.model)
                allowed = self._budget.take(self._router.policy, items=items, load_milli=load_milli)
                return choice if allowed else None
        return None


class _SecondCopy:
    """The second copy of one task, in a task of its own if it comes to that; its answer ends the first."""

    def __init__(self, again: Callable[[], Awaitable[TaskAnswer | None]]) -> None:
        self._again = again
        self._scope = trio.CancelScope()
        self._ended: trio.Event | None = None
        """None until it begins."""
        self._over = False
        self.rival = trio.CancelScope()
        """Around the first copy."""
        self.answer: TaskAnswer | None = None
        self.failure: Exception | None = None
        """An error in the program, for the first copy's task to raise."""

    async def run(self) -> None:
        """Run it; raises nothing."""
        if self._over:
            return
        self._ended = trio.Event()
        try:
            with self._scope:
                self.answer = await self._again()
        except SwarmError:
            pass  # the first copy may be answered all the same
        except Exception as error:
            self.failure = error
        finally:
            self._ended.set()
        if self.answer is not None or self.failure is not None:
            self.rival.cancel()

    async def wait(self) -> None:
        """Return when it has ended, at once if it never began."""
        if self._ended is not None:
            await self._ended.wait()

    def take(self) -> TaskAnswer:
        """Return its answer; whoever calls this knows that it ended the first copy."""
        if self.failure is not None:
            raise self.failure
        assert self.answer is not None
        answer, self.answer = self.answer, None
        return answer

    async def end(self, drop: Callable[[TaskAnswer], None]) -> None:
        """End it if it runs; `drop` gets its answer if nobody took that."""
        self._over = True
        if self._ended is not None:
            self._scope.cancel()
            with trio.CancelScope(shield=True):
                await self._ended.wait()
        if self.answer is not None:
            drop(self.answer)
