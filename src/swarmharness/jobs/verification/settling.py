"""Settles what jobs accepted: at once what needs no check, in batches what one check covers; it never signs by itself.

Up to 20 tasks of one worker and model stay unsettled until one of them, drawn after all were answered, was
checked. If it was right, one receipt settles all; if not, all are void, and their jobs hear of it. The worker is not
told: it sees that no receipt comes, as from any requester that withholds its signature, and does not learn which
task was the checked one. A batch that does not fill up within `patience_s` is checked as likely as its tasks together
would have been, and settled then; so is every batch when the node stops. That is far below the ten minutes after which
a worker counts a requester as withholding (C-13).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Sequence

import trio

from swarmharness.credit.service import CreditService
from swarmharness.credit.terms import TaskTerms, sole_game
from swarmharness.errors import SwarmError
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.batches import Batch, Batches, Key, Unsettled
from swarmharness.jobs.verification.judging import Judging
from swarmharness.jobs.verification.policy import COIN, must_check
from swarmharness.jobs.verification.quorum import Finding
from swarmharness.jobs.verification.settlement import checked_game
from swarmharness.jobs.verification.verdict import Outcome
from swarmharness.ports import Clock
from swarmharness.registry.models import model_key

EXPECTED_BYTES_MAX = 128 * 2**20
EXPECTED_MAX = 1_024
"""Answers that were handed up and not accepted yet; the oldest are forgotten, and settled without a check."""


class Settling:
    """`settle` is what jobs call with each answer that they accept."""

    def __init__(self, credit: CreditService, judging: Judging, clock: Clock) -> None:
        self._credit, self._judging, self._clock = credit, judging, clock
        self._expected: dict[str, Unsettled] = {}
        self._expected_bytes = 0
        self._batches = Batches()
        self._complete: list[Batch] = []
        self._checking = 0
        self._changed = trio.Event()

    @property
    def unsettled_microcredits(self) -> int:
        """What is owed for answers that wait for the check of their batch."""
        return self._batches.amount_microcredits

    # -- for the jobs ---------------------------------------------------------------------------------------------

    def expect(self, task: Unsettled) -> None:
        """Keep what a later check of this answer needs, until its job accepts it."""
        self._expected[task.answer.receipt] = task
        self._expected_bytes += task.size_bytes
        while len(self._expected) > EXPECTED_MAX or self._expected_bytes > EXPECTED_BYTES_MAX:
            self._expected_bytes -= self._expected.pop(next(iter(self._expected))).size_bytes

    def settle(self, answer: TaskAnswer) -> None:
        """Pay for an answer that was accepted, now or with its batch; never waits and never raises."""
        if answer.terms is None:
            return
        if answer.confirmed_by:
            self._settle_alike([answer.terms], answer.terms, answer.confirmed_by)
            return
        task = self._expected.pop(answer.receipt, None)
        if task is None:
            self._credit.settle_task(answer.terms)
            return
        self._expected_bytes -= task.size_bytes
        key = key_of(task.terms)
        self._complete += self._batches.add(
            key,
            task,
            limit=self._judging.batch_tasks(answer.peer_id, key[1]),
            draw=self._judging.below(self._batches.size(key) + 1),
            now_us=self._clock.monotonic_us(),
        )
        self._changed.set()

    def void(self, terms: TaskTerms) -> None:
        """Pay nothing of what this worker has unsettled of that kind, and tell its jobs."""
        batch = self._batches.take(key_of(terms))
        if batch is not None:
            self._void(batch)

    def distrust(self, answer: TaskAnswer) -> None:
        """Check the open batch of a worker now: an answer of it was disputed."""
        batch = None if answer.terms is None else self._batches.take(key_of(answer.terms))
        if batch is not None:
            self._complete.append(batch)
            self._changed.set()

    # -- in the background ----------------------------------------------------------------------------------------

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Check and settle batches until cancelled; then settle what is left without a check."""
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    self._start(nursery)
                    with trio.move_on_after(self._next_due_s()):
                        await self._changed.wait()
                    self._changed = trio.Event()
        finally:
            for batch in [*self._complete, *self._batches.due(2**63)]:
                self._settle_batch(batch, ())
            self._complete.clear()

    async def finish(self) -> None:
        """Check and settle all open batches now, as if their time had come; returns when that is done."""
        self._leave(self._batches.due(2**63))
        self._changed.set()
        while self._complete or self._checking:
            await self._changed.wait()

    def _start(self, nursery: trio.Nursery) -> None:
        patience_us = round(self._judging.settings.patience_s * 1e6)
        self._leave(self._batches.due(self._clock.monotonic_us() - patience_us))
        complete, self._complete = self._complete, []
        self._checking += len(complete)
        for batch in complete:
            nursery.start_soon(self._check, batch)

    def _leave(self, batches: Collection[Batch]) -> None:
        """Draw whether each of these parts of a batch is checked, and settle those that are not."""
        for batch in batches:
            valid = self._judging.standings.get(*batch.key).valid_in_a_row
            if must_check(valid, self._judging.below(COIN), tasks=len(batch.terms)):
                self._complete.append(batch)
            else:
                self._settle_batch(batch, ())

    def _next_due_s(self) -> float:
        opened_us = self._batches.next_opened_us()
        if opened_us is None:
            return 1e9
        return max(0.0, (opened_us - self._clock.monotonic_us()) / 1e6 + self._judging.settings.patience_s)

    async def _check(self, batch: Batch) -> None:
        drawn = batch.drawn
        settled = False
        try:
            finding = await self._judging.quorum.find(drawn.question, drawn.answer)
            settled = True
            self._conclude(batch, finding)
        except SwarmError:
            pass  # settled below: a check that cannot be made says nothing
        finally:
            if not settled:
                self._settle_batch(batch, ())
            self._checking -= 1
            self._changed.set()

    def _conclude(self, batch: Batch, finding: Finding) -> None:
        question, verdict = batch.drawn.question, finding.verdict
        others = finding.answers[1:]
        if verdict.outcome is not Outcome.AGREED:
            for answer in others:
                question.purse.release(answer.price_microcredits)
                self._judging.doubt(answer, question.skill)
            if others:
                self._judging.doubt(finding.answers[0], question.skill)
            self._settle_batch(batch, ())
            return
        for place in verdict.wrong:
            wrong = finding.answers[place]
            self._judging.wrong(wrong, question.skill, "others agree on another answer")
            if place:
                question.purse.release(wrong.price_microcredits)
                if wrong.terms is not None:
                    self.void(wrong.terms)
        right = [finding.answers[place] for place in verdict.right]
        matching = [answer.terms for answer in right if answer.terms is not None and answer is not finding.answers[0]]
        for answer in right:
            if answer is not finding.answers[0]:
                question.purse.spend(answer.price_microcredits)
        if 0 in verdict.right:
            self._judging.right(
                right, question.skill, question.items, parameters=question.parameters, tasks=len(batch.terms)
            )
            self._settle_batch(batch, matching)
        else:
            self._judging.right(right, question.skill, question.items, parameters=question.parameters)
            self._void(batch)
            self.void(batch.drawn.terms)
            if matching:
                self._settle_alike([matching[0]], matching[0], matching[1:])

    # -- paying ---------------------------------------------------------------------------------------------------

    def _settle_batch(self, batch: Batch, matching: Sequence[TaskTerms]) -> None:
        self._judging.counted["batches_settled"] += 1
        self._settle_alike(batch.terms, batch.drawn.terms, matching)

    def _settle_alike(self, tasks: Sequence[TaskTerms], checked: TaskTerms, matching: Sequence[TaskTerms]) -> None:
        """Settle the tasks of one worker, and the others' answers to the checked one."""
        game = checked_game(tasks, checked, matching) if matching else None
        if game is not None:
            self._credit.settle_game(game, [tasks, *([other] for other in matching)])
            return
        for other in matching:
            self._credit.settle_task(other)
        if len(tasks) > 1:
            self._credit.settle_game(
                sole_game(tasks[0].worker, (task.share_microcredits for task in tasks)), [list(tasks)]
            )
        else:
            self._credit.settle_task(tasks[0])

    def _void(self, batch: Batch) -> None:
        self._judging.counted["tasks_voided"] += len(batch.terms)
        receipts: defaultdict[Callable[[Collection[str]], None], set[str]] = defaultdict(set)
        for receipt, tell in batch.voids:
            receipts[tell].add(receipt)
        for tell, names in receipts.items():
            tell(names)


def key_of(terms: TaskTerms) -> Key:
    """Return what the tasks of a batch have in common."""
    return terms.worker, model_key(terms.skill, terms.model_digest)
