"""One job: takes items, hands out their results in input order, and notes both; it chooses no peer and sends nothing.

It holds a window of items and no more: `feed` waits while too many of them, or too many bytes, were fed and not yet
handed out. Answers are paid for once they are on disk, so that no crash has an item paid for twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace

import trio

from swarmharness.errors import BudgetError, DeadlineError, ErrorKind, InputError, SwarmError, UnavailableError
from swarmharness.execution.ports import Item
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.bell import Bell
from swarmharness.jobs.context import JobContext
from swarmharness.jobs.dispatch import Dispatch, Dispatcher, JobSettings, Why
from swarmharness.jobs.intake import Intake
from swarmharness.jobs.journal import (
    AnsweredChunk,
    Counts,
    ItemResult,
    JobRecord,
    JobState,
    Journal,
    input_digest,
)
from swarmharness.jobs.pinning import Pinning
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.shelf import Shelf
from swarmharness.ports import Clock
from swarmharness.routing.router import Router

VOIDABLE_MAX = 1024
REASON_CHARS_MAX = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands."""

    items_total: int
    """How many items were fed so far."""
    items_done: int
    """How many of them have an answer."""
    peers: dict[str, int]
    """Items answered since the job was opened or resumed, by peer."""
    spent_microcredits: int = 0
    waiting_for: str = ""
    """What it waits for while nobody can go on with it; empty while it goes on."""


@dataclass(frozen=True, slots=True)
class JobWorld:
    """What a job works with."""

    router: Router
    clock: Clock
    settle: Callable[[TaskAnswer], None]
    pinning: Pinning
    journal: Journal | None = None


class Job:
    """One submission. Feed it, close the feed, read results until they end; leaving its scope cancels what is left."""

    def __init__(
        self, record: JobRecord, world: JobWorld, tasks: TaskRunner, settings: JobSettings, context: JobContext
    ) -> None:
        self.job_id = record.job_id
        self.skill = record.skill
        self.model_digest = record.model_digest
        """Of every answer; empty for a job of the first release, whose answers may be of several models."""
        self.kind = record.kind
        """What kind of items the skill takes (see `execution.items`)."""
        self._record, self._world, self._settings, self._purse = record, world, settings, context.purse
        self._bell = Bell()
        self._intake = Intake(record.job_id, world.journal, fed=record.items_fed, ended=record.input_ended)
        self._shelf = Shelf(record.job_id, world.journal)
        self._traffic = Dispatcher(
            record.model,
            world.router,
            tasks,
            world.clock,
            settings,
            context.purse,
            self._bell,
            Dispatch(self._intake.item, self._accept, self._give_up, self._is_answered),
            pinning=world.pinning,
            explained=world.journal is not None,
            begun_s=context.begun_s,
            begun=record.items_fed > 0,
            waits=record.items_answered > 0 or record.options.wait,
            takes=record.options.parameter_names,
            copies=max(2, record.options.replicas) if record.options.verify == "always" else 1,
        )
        self._handed_out = 0
        self._done_by: Counter[str] = Counter()
        self._voidable: dict[str, tuple[tuple[int, ...], int]] = {}
        """By receipt: the items that it answers, and its price."""
        self._voided: set[str] = set()
        self._end: tuple[JobState, SwarmError | None] | None = None
        context.void = self.void

    # -- the caller's side ------------------------------------------------------------------------------------

    async def feed(self, items: Sequence[Item], *, last: bool) -> None:
        """Add items in order, in place of one that cannot be used the reason; waits while too many were not handed out.

        InputError: items after `last`. InputChangedError: an input that is read again is another one now. Whatever
        ended the job is raised if it has ended.
        """
        intake, journal = self._intake, self._world.journal
        if intake.ended and items and not intake.reading_again:
            raise InputError("this job's input has ended; open another job")
        while self._end is None and self._is_full():
            await self._bell.wait()
        if journal is not None:
            await journal.room()
        if self._end is not None:
            raise self._end[1] or InputError("this job has ended; open another one")
        known, new = await intake.compare(items, last=last)
        wanted = [pair for pair in known if pair[0] not in self._shelf and pair[0] not in self._traffic.plan] + new
        intake.take_in(items, wanted, new, last=last)
        self._traffic.plan.feed((index, len(item)) for index, item in wanted if isinstance(item, bytes))
        if journal is not None and (new or last):
            digests = b"".join(input_digest(item) for _, item in new)
            journal.fed(self.job_id, intake.fed - len(new), digests, self.counts)
        for index, item in wanted:
            if isinstance(item, str):
                self._give_up(index, InputError(item[:REASON_CHARS_MAX]))
        self._bell.ring()

    async def results(self) -> AsyncIterator[ItemResult]:
        """Yield every item's result in input order."""
        while not self.done:
            ring = self._bell.next
            batch = await self.take()
            for result in batch:
                yield result
            if not batch and not self.done:
                await ring.wait()

    async def take(self, count_max: int = 1024) -> list[ItemResult]:
        """Take the results that are next in input order, possibly none; taking the last one ends the job."""
        answered = self._handed_out in self._shelf
        batch = await self._shelf.take(self._handed_out, count_max)
        if answered and not batch:
            self._do_again(self._handed_out)
        elif not batch and self._end is not None:
            batch = self._missing(count_max)
        for result in batch:
            self._intake.handed_out(result.index)
        self._handed_out += len(batch)
        if batch:
            self._forget_handed_out()
            self._bell.ring()
        if self._is_answered() and self._handed_out == self._intake.fed:
            # Here, because whoever has them all may leave before the dispatcher looks again, and cancel it.
            self.end(JobState.DONE, None)
        return batch

    async def wait(self, *, timeout_s: float) -> None:
        """Return when something changed, or after the time-out."""
        with trio.move_on_after(timeout_s):
            await self._bell.wait()

    def read_again(self, *, compare: bool) -> None:
        """Hand the results out from the start again; with `compare`, `feed` gets the input from its start again."""
        self._handed_out = 0
        if compare:
            self._intake.read_again()
        self._bell.ring()

    def void(self, receipts: Collection[str]) -> None:
        """Have the items of these answers done again, as far as they were not handed out; see `JobContext.void`."""
        indices: list[int] = []
        for receipt in receipts:
            self._voided.add(receipt)
            answered, price = self._voidable.pop(receipt, ((), 0))
            self._purse.refund(price)
            indices += [index for index in answered if index >= self._handed_out and self._shelf.remove(index)]
        self._traffic.plan.put_back(indices)
        if self._world.journal is not None:
            self._world.journal.voided(self.job_id, indices, tuple(receipts), self.counts)
        self._bell.ring()

    @property
    def done(self) -> bool:
        """Every result was taken, no more can come, and how it ended is noted."""
        return self._end is not None and self._handed_out == self._intake.fed

    @property
    def has_all(self) -> bool:
        """No item that was fed is needed again: each is answered, or waits here for its answer."""
        return self._shelf.count + len(self._traffic.plan) == self._intake.fed

    @property
    def resting(self) -> bool:
        """There is nothing to do until somebody feeds it or takes its results."""
        return self._end is not None or self._traffic.plan.finished

    @property
    def failure(self) -> SwarmError | None:
        """What ended it, unless it is done or goes on."""
        return None if self._end is None else self._end[1]

    @property
    def progress(self) -> Progress:
        """See `Progress`."""
        counts = self.counts
        return Progress(
            items_total=counts.items_fed,
            items_done=counts.items_answered,
            peers=dict(self._done_by),
            spent_microcredits=counts.spent_microcredits,
            waiting_for="" if self._end is not None else self._traffic.waiting_for,
        )

    @property
    def counts(self) -> Counts:
        """Where it stands, for its journal."""
        intake = self._intake
        return Counts(intake.fed, self._shelf.count, intake.ended, self._purse.spent_microcredits)

    @property
    def record(self) -> JobRecord:
        """What is known of it now."""
        counts = self.counts
        state, failure = self._end or (JobState.OPEN, None)
        return replace(
            self._record,
            state=state,
            reason="" if failure is None else str(failure),
            items_fed=counts.items_fed,
            items_answered=counts.items_answered,
            input_ended=counts.input_ended,
            spent_microcredits=counts.spent_microcredits,
        )

    # -- its life ---------------------------------------------------------------------------------------------

    async def recall(self) -> None:
        """Take over the answers that the journal has."""
        if self._world.journal is not None and self._intake.fed:
            self._shelf.recall(await self._world.journal.answered_bits(self.job_id, self._intake.fed))

    async def drive(self, nursery: trio.Nursery) -> None:
        """Work until every item has a result; every failure becomes the result of the items that it leaves behind.

        What is under way at a time are tasks of `nursery`.
        """
        failure: SwarmError | None
        try:
            failure = await self._traffic.run(nursery)
            state = JobState.DONE if failure is None else JobState.FAILED
        except DeadlineError as error:
            failure, state = error, JobState.DEADLINE
        except SwarmError as error:
            failure, state = error, JobState.FAILED
        await self._traffic.stop()
        self.end(JobState.BUDGET if isinstance(failure, BudgetError) else state, failure)

    def end(self, state: JobState, failure: SwarmError | None) -> None:
        """Note how it ended, once; what is unanswered then gets `failure` as its result."""
        if self._end is not None:
            return
        self._end = state, failure
        if self._world.journal is not None:
            reason = "" if failure is None else str(failure)
            self._world.journal.end(self.job_id, state, reason, self._world.clock.unix_us(), self.counts)
        self._bell.ring()

    def let_go(self) -> None:
        """Be called back by nobody from now on, so that the memory is free as soon as nobody holds the job."""
        self._traffic.let_go()

    # -- parts ------------------------------------------------------------------------------------------------

    def _is_answered(self) -> bool:
        intake = self._intake
        return intake.ended and not intake.reading_again and self._shelf.count == intake.fed

    def _is_full(self) -> bool:
        intake, settings = self._intake, self._settings
        ahead = intake.cursor - self._handed_out
        return ahead >= settings.window_items or (ahead > 0 and intake.held_bytes >= settings.window_bytes)

    def _accept(self, indices: tuple[int, ...], answer: TaskAnswer, why: Why | None) -> None:
        service_us = answer.service_us // len(answer.outputs)
        results = [
            ItemResult(
                *(index, output.data, output.error, ErrorKind.INPUT if output.error else None, answer.peer_id),
                service_us=service_us,
                receipt=answer.receipt,
                verified=answer.verified,
                flags=output.flags,
            )
            for index, output in zip(indices, answer.outputs, strict=True)
        ]
        self._done_by[answer.peer_id] += len(results)
        self._shelf.put(results)
        if answer.receipt:
            self._voidable[answer.receipt] = indices, answer.price_microcredits
            if len(self._voidable) > VOIDABLE_MAX:
                del self._voidable[next(iter(self._voidable))]
        if self._world.journal is None:
            self._world.settle(answer)
            return
        note = AnsweredChunk(
            peer=answer.peer_id,
            receipt=answer.receipt,
            items=len(results),
            first_index=min(indices),
            price_microcredits=answer.price_microcredits,
            service_us=answer.service_us,
            elapsed_us=answer.elapsed_us,
            answered_us=self._world.clock.unix_us(),
        )

        def on_kept() -> None:
            if answer.receipt in self._voided:
                return
            self._shelf.kept(indices)
            self._world.settle(answer)

        self._world.journal.answered(self.job_id, results, note, answer.terms, self.counts, on_kept, why=why)

    def _give_up(self, index: int, failure: SwarmError) -> None:
        """Take the failure as the item's answer: it cannot be used, or broke every worker that tried it."""
        result = ItemResult(index, b"", str(failure) or "unknown failure", failure.kind, "", 0, "")
        self._shelf.put([result])
        if self._world.journal is not None:
            on_kept = lambda: self._shelf.kept([index])  # noqa: E731
            self._world.journal.answered(self.job_id, [result], None, None, self.counts, on_kept)

    def _do_again(self, index: int) -> None:
        """Have an item done again whose answer the journal has lost; without the item, that is its result."""
        if self._end is None and self._intake.holds(index):
            self._traffic.plan.put_back([index])
        else:
            problem = (
                f"its answer was lost with a damaged journal: `swarmharness jobs resume {self.job_id}` has it done"
            )
            self._shelf.put([ItemResult(index, b"", problem, ErrorKind.UNAVAILABLE, "", 0, "")])
        self._bell.ring()

    def _forget_handed_out(self) -> None:
        """Drop the oldest answers that can be voided no more."""
        while self._voidable:
            receipt, (indices, _) = next(iter(self._voidable.items()))
            if max(indices) >= self._handed_out:
                return
            del self._voidable[receipt]

    def _missing(self, count_max: int) -> list[ItemResult]:
        """Return results without output for what has none, now that the job has ended."""
        failure = (self._end[1] if self._end else None) or UnavailableError("the job was ended before")
        missing: list[ItemResult] = []
        index = self._handed_out
        while len(missing) < count_max and index < self._intake.fed and index not in self._shelf:
            missing.append(ItemResult(index, b"", str(failure) or "unknown failure", failure.kind, "", 0, ""))
            index += 1
        return missing
