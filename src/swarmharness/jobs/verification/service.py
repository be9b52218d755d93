"""Verification of a node: builds the checking layer of each job, and runs what checks and settles behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio

from swarmharness.credit.service import CreditService
from swarmharness.errors import InputError
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.context import JobContext
from swarmharness.jobs.messages import Output
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.checked import CheckedTasks
from swarmharness.jobs.verification.judging import Judging
from swarmharness.jobs.verification.known import ITEM_BYTES_MAX
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.jobs.verification.quorum import Quorum
from swarmharness.jobs.verification.settling import Settling
from swarmharness.jobs.verification.standings import Standings
from swarmharness.ports import Clock, Randomness
from swarmharness.registry.models import ModelKey
from swarmharness.routing.router import Router

FINISH_S = 2.0
COUNTED = (
    "checks_passed",
    "items_checked",
    "answers_found_wrong",
    "answers_in_doubt",
    "batches_settled",
    "tasks_voided",
)


class Verification:
    """See `checked`, `settling` and docs/verification.md."""

    def __init__(
        self,
        router: Router,
        credit: CreditService,
        standings: Standings,
        clock: Clock,
        randomness: Randomness,
        settings: VerificationSettings,
        *,
        own_id: PeerId,
        near: Callable[[PeerId], frozenset[str]],
        trusts: Callable[[PeerId], bool],
    ) -> None:
        quorum = Quorum(router, standings, randomness, own_id=own_id, near=near, tolerance=settings.tolerance)
        self._standings = standings
        self.judging = Judging(quorum, standings, randomness, settings, own_id=own_id, trusts=trusts)
        self._settling = Settling(credit, self.judging, clock)
        standings.attach(router)

    def checked(self, runner: TaskRunner, context: JobContext) -> CheckedTasks:
        """Return the checking layer of one job over what runs its tasks."""
        return CheckedTasks(runner, context, self.judging, self._settling)

    def settle(self, answer: TaskAnswer) -> None:
        """Pay for an answer that its job accepted, now or with its batch; never waits and never raises."""
        self._settling.settle(answer)

    def know(self, model: ModelKey, parameters: bytes, item: bytes, output: bytes) -> None:
        """Use an item whose output the user knows for certain as a spot check; InputError if it is too large."""
        key, answer = (model, parameters), Output(output, "")
        if not self.judging.known.add(key, item, answer, seen=(), certain=True, flags_known=False):
            raise InputError(f"a known item and its output have at most {ITEM_BYTES_MAX} bytes each")

    def status(self) -> dict[str, Any]:
        """Return what checks found so far, as plain values."""
        counted = self.judging.counted
        return {
            **{name: counted[name] for name in COUNTED},
            "unsettled_microcredits": self._settling.unsettled_microcredits,
            "peers_shunned": self._shunned(),
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work in the background until cancelled; open batches are settled at the end."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._standings.run)
            await nursery.start(self._settling.run)
            task_status.started()

    async def finish(self) -> None:
        """Check and settle what is open, within a moment."""
        with trio.move_on_after(FINISH_S):
            await self._settling.finish()

    def _shunned(self) -> int:
        skills = {(peer, model.skill) for peer, model, _ in self._standings.rows()}
        return sum(self._standings.shunned(peer, skill) for peer, skill in skills)
