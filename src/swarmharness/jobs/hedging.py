"""Sends a second copy of a small task that is late to the next best peer, and takes the first answer.

It keeps to a budget, gives way under load (`routing/hedging.py` decides both) and never tries a third time.
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from swarmharness.errors import BudgetError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.hedging import HedgeBudget, late_after_us
from swarmharness.routing.router import Choice, Router


class HedgedTasks:
    """A `TaskRunner` over another one; `budget` is shared by all jobs of the node.

    `drop` gets an answer that came too late to be taken, for example to release its price.
    """

    def __init__(
        self, router: Router, tasks: TaskRunner, budget: HedgeBudget, *, drop: Callable[[TaskAnswer], None]
    ) -> None:
        self._router = router
        self._tasks = tasks
        self._budget = budget
        self._drop = drop

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """See `TaskRunner`; if neither copy is answered, the failure of the first is raised."""
        policy = self._router.policy
        self._budget.request(policy)
        expected_us = self._router.expected_us(peer_id, skill.name, len(items), input_bytes=sum(map(len, items)))
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
        race = _Race(self._tasks, items, self._drop)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(race.run, peer_id, skill, timeout_s, nursery.cancel_scope)
            with trio.move_on_after(late_s):
                await race.first_ended.wait()
            if not race.first_ended.is_set():
                other = await self._next_best(peer_id, skill, len(items))
                if other is not None:
                    nursery.start_soon(race.run, other.peer_id, other.skill, timeout_s - late_s, nursery.cancel_scope)
        return race.result()

    async def _next_best(self, peer_id: PeerId, skill: SkillAdvert, items: int) -> Choice | None:
        """Return whom to send a second copy to, if one may be sent: the same model, at no more than twice the price."""
        try:
            choices = await self._router.choose(
                skill.name, items, exclude=frozenset((peer_id,)), model_digest=skill.model_digest
            )
        except SwarmError:
            return None
        for choice in choices:
            if choice.skill.price_microcredits <= 2 * skill.price_microcredits:
                load_milli = self._router.load_milli(skill.name)
                allowed = self._budget.take(self._router.policy, items=items, load_milli=load_milli)
                return choice if allowed else None
        return None


class _Race:
    """Two copies of one task; the first answer ends the other."""

    def __init__(self, tasks: TaskRunner, items: tuple[bytes, ...], drop: Callable[[TaskAnswer], None]) -> None:
        self._tasks = tasks
        self._items = items
        self._drop = drop
        self._answer: TaskAnswer | None = None
        self._failures: list[SwarmError] = []
        self.first_ended = trio.Event()

    async def run(self, peer_id: PeerId, skill: SkillAdvert, timeout_s: float, scope: trio.CancelScope) -> None:
        try:
            answer = await self._tasks.run(peer_id, skill, self._items, timeout_s=timeout_s)
        except SwarmError as failure:
            if not (self._failures and isinstance(failure, BudgetError)):
                self._failures.append(failure)
        else:
            if self._answer is None:
                self._answer = answer
                scope.cancel()
            else:
                self._drop(answer)
        self.first_ended.set()

    def result(self) -> TaskAnswer:
        if self._answer is None:
            raise self._failures[0]
        return self._answer
