"""Runs one task on one peer and tells the router how it went; it never chooses a peer and never tries again.

`TaskRunner` is what every layer between a job and the wire looks like, so that they stack: a job asks checked tasks,
those ask this, this asks the requester.
"""

from __future__ import annotations

from typing import Protocol

from swarmharness.errors import BudgetError, ErrorKind, ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskAnswer, TaskRequester
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey
from swarmharness.routing.router import Router


class TaskRunner(Protocol):
    """Gets one task answered."""

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """Return the answer of `peer_id`, or of whoever answered in its place (`TaskAnswer.peer_id`).

        The answer's price is reserved in the job's purse, and no other: whoever takes the answer spends it, and whoever
        drops the answer releases it. Raises the SwarmError that says why there is no answer.
        """


def blames_items(failure: SwarmError) -> bool:
    """Return whether the items themselves may be the cause of a failure: another peer would fail on them too."""
    return failure.kind in (ErrorKind.INTERNAL, ErrorKind.INPUT) and not isinstance(failure, ProtocolError)


class RoutedTasks:
    """The lowest layer above the wire: what is sent is noted, and so is every end that it can come to.

    It reserves the price of every task before it is sent, and releases it unless there is an answer. All tasks of its
    job have the same parameters.
    """

    def __init__(self, router: Router, tasks: TaskRequester, purse: Purse, parameters: bytes = b"") -> None:
        self._router = router
        self._tasks = tasks
        self._purse = purse
        self._parameters = parameters

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """See `TaskRunner`; a task that is cancelled says nothing about its peer."""
        price = self._tasks.price_microcredits(peer_id, skill, len(items))
        if not self._purse.reserve(price):
            raise BudgetError(f"{len(items)} items cost {price} micro-credits there, more than the budget has left")
        prediction = self._router.note_sent(peer_id, skill.model, len(items), input_bytes=sum(map(len, items)))
        try:
            answer = await self._tasks.run(peer_id, skill, items, timeout_s=timeout_s, parameters=self._parameters)
        except SwarmError as failure:
            self._purse.release(price)
            self._note_failure(peer_id, skill.model, len(items), failure)
            raise
        except BaseException:  # a cancellation leaves the requester's nursery as a group, which is no trio.Cancelled
            self._purse.release(price)
            self._router.note_given_up(peer_id, skill.model, len(items))
            raise
        self._router.note_answer(
            peer_id,
            skill.model,
            items=len(items),
            service_us=answer.service_us,
            queued_items=answer.queued_items,
            elapsed_us=answer.elapsed_us,
            prediction=prediction,
            input_bytes=sum(map(len, items)),
        )
        return answer

    def _note_failure(self, peer_id: PeerId, model: ModelKey, items: int, failure: SwarmError) -> None:
        if isinstance(failure, ProtocolError):
            self._router.note_invalid(peer_id, model, items, str(failure))
        elif blames_items(failure):
            self._router.note_given_up(peer_id, model, items)
        else:
            self._router.note_failure(peer_id, model, items, failure)
