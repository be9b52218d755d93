"""Opens jobs and takes up old ones: pins each to a model that somebody serves, and that the budget can pay for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio

from swarmharness.credit.receipt import ReceiptBody, epoch_of
from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import BudgetError, DeadlineError, InputError, SwarmError, UnavailableError
from swarmharness.execution.parameters import encode_parameters
from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobContext, JobOptions, TaskLayers
from swarmharness.jobs.dispatch import ALONE_LOOK_S_MAX, JobSettings, prices_text
from swarmharness.jobs.job import Job, JobWorld, Progress
from swarmharness.jobs.journal import ItemResult, JobRecord, JobState, Journal
from swarmharness.jobs.pinning import pinning
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.ports import Clock
from swarmharness.routing.explain import excluded_text
from swarmharness.routing.router import Choice, Router
from swarmharness.routing.selection import find_model

__all__ = ["ItemResult", "Job", "JobService", "JobSettings", "Progress"]


class JobService:
    """Opens jobs on this node. Only a job that is opened with a journal id is noted there, and can be resumed."""

    def __init__(
        self,
        router: Router,
        layers: TaskLayers,
        clock: Clock,
        settings: JobSettings,
        *,
        settle: Callable[[TaskAnswer], None],
        trusts: Callable[[PeerId], bool] = lambda _: False,
        journal: Journal | None = None,
    ) -> None:
        """`trusts` says whom `adaptive` believes without a check."""
        self._router = router
        self._trusts = trusts
        self._layers = layers
        self._clock = clock
        self._settings = settings
        self._settle = settle
        self.journal = journal

    async def prepare(
        self, skill: str, options: JobOptions, parameters: Mapping[str, Any], *, deadline_s: float
    ) -> str:
        """Return the kind of the skill, without opening a job of it.

        Raises UnavailableError if nobody serves the skill: at once, or with `options.wait` when the deadline passes
        (DeadlineError if it passes before anybody was looked for in full);
        and if nobody takes the parameters. Raises BudgetError if nobody can be paid, and ConfigurationError for a
        parameter that the skill's kind does not take, or for digits that several models begin with.
        """
        first, _ = await self._prepare(skill, options, parameters, trio.current_time() + deadline_s)
        return first.skill.kind

    @asynccontextmanager
    async def open(
        self,
        skill: str,
        settings: JobSettings | None = None,
        *,
        options: JobOptions | None = None,
        parameters: Mapping[str, Any] | None = None,
        job_id: str = "",
        source: Mapping[str, Any] | None = None,
        out: str = "",
    ) -> AsyncIterator[Job]:
        """Run a job for as long as the block lasts; it is journalled if it has a `job_id`, unique on this node.

        Of several models that go by the skill's name, the job picks one and stays with it (`pinning`). `parameters` are
        those of the skill's kind (see `execution.parameters`). Raises what `prepare` raises.
        """
        settings, begun_s = settings or self._settings, trio.current_time()
        first, options = await self._prepare(
            skill, options or JobOptions(), parameters or {}, begun_s + settings.deadline_s
        )
        record = JobRecord(
            job_id=job_id,
            skill=first.skill.name,
            model_digest=first.skill.model_digest,
            kind=first.skill.kind,
            options=options,
            deadline_s=settings.deadline_s,
            source=source or {},
            out=out,
            created_us=self._clock.unix_us(),
        )
        journal = self.journal if job_id else None
        if journal is not None:
            journal.begin(record)
        async with self._running(record, settings, journal, begun_s=begun_s) as job:
            yield job

    async def _prepare(
        self, skill: str, options: JobOptions, parameters: Mapping[str, Any], ends_s: float
    ) -> tuple[Choice, JobOptions]:
        """Return the choice whose model the job is pinned to, and the job's options."""
        choices = await self._first_choices(skill, ends_s, waits=options.wait)
        options = replace(options, parameters=encode_parameters(choices[0].skill.kind, parameters))
        takers = tuple(choice for choice in choices if choice.skill.takes(options.parameter_names))
        if not takers:
            raise UnavailableError(
                f"no node that serves {skill!r} takes the parameter {', '.join(options.parameter_names)}: they are of"
                " an earlier release; leave it out, or wait for another node"
            )
        return pinning(options, self._trusts).pick(_payable(options.budget_microcredits, takers)), options

    async def _first_choices(self, text: str, ends_s: float, *, waits: bool) -> tuple[Choice, ...]:
        """Return who serves SKILL or SKILL@DIGEST, the best first.

        `waits` looks again and again until `ends_s` in trio's time.
        """
        problem: SwarmError = DeadlineError(f"the job's deadline passed before a node that serves {text!r} was found")
        with trio.CancelScope(deadline=ends_s):
            while True:
                try:
                    model = await find_model(self._router, text)
                    choices = await self._router.choose(model.skill, model_digest=model.digest, explores=False)
                    if choices:
                        return choices
                    reasons = excluded_text(self._router.explain(model.skill, model_digest=model.digest))
                    problem = UnavailableError(f"no node that serves {model} can be asked now: {reasons}")
                except UnavailableError as error:
                    problem = error
                if not waits:
                    break
                await trio.sleep(ALONE_LOOK_S_MAX)
        raise problem

    @asynccontextmanager
    async def resume(
        self,
        job_id: str,
        settings: JobSettings | None = None,
        *,
        compare: bool,
        budget_microcredits: int | None = None,
        out: str = "",
    ) -> AsyncIterator[Job]:
        """Go on with a job of the journal for as long as the block lasts, whatever became of it before.

        Its results are handed out from the start. With `compare`, `feed` gets the input from its start again; without,
        the journal must have everything. The deadline counts from now. Raises InputError for an unknown job, and
        BudgetError if the budget, which may be given anew, is spent already.
        """
        journal = self.journal
        if journal is None:
            raise InputError("this node keeps no journal of jobs")
        await journal.flush()
        record = await journal.job(job_id)
        if record is None:
            raise InputError(f"there is no job {job_id!r} here; `swarmharness jobs list` shows those that there are")
        settings = settings or replace(self._settings, deadline_s=record.deadline_s)
        budget = record.options.budget_microcredits if budget_microcredits is None else budget_microcredits
        record = replace(
            record,
            options=replace(record.options, budget_microcredits=budget),
            deadline_s=settings.deadline_s,
            out=out or record.out,
            state=JobState.OPEN,
            reason="",
        )
        if budget is not None and record.items_answered < record.items_fed and record.spent_microcredits >= budget:
            raise BudgetError(
                f"job {job_id} has spent {record.spent_microcredits} of its {budget} micro-credits: give it a larger"
                " --budget"
            )
        journal.begin_again(record)
        async with self._running(record, settings, journal, compare=compare) as job:
            yield job

    @asynccontextmanager
    async def _running(
        self,
        record: JobRecord,
        settings: JobSettings,
        journal: Journal | None,
        *,
        begun_s: float | None = None,
        compare: bool = False,
    ) -> AsyncIterator[Job]:
        purse = Purse(record.options.budget_microcredits, record.spent_microcredits)
        context = JobContext(record.options, purse, begun_s)
        world = JobWorld(self._router, self._clock, self._settle, pinning(record.options, self._trusts), journal)
        job = Job(record, world, self._layers(context), settings, context)
        await job.recall()
        if compare:
            job.read_again(compare=True)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(job.drive, nursery)
                yield job
                nursery.cancel_scope.cancel()
        finally:
            job.let_go()
            context.let_go()

    def paid(self, body: ReceiptBody, own_id: PeerId) -> None:
        """Hear that a receipt is complete; if this node is the one that pays, its tasks are owed no more."""
        if self.journal is not None and body.requester == own_id:
            self.journal.settled(body.tasks)

    async def settle_owed(self, settled: Iterable[bytes], settle: Callable[[TaskTerms], None]) -> None:
        """Pay for what an earlier run of this node noted and did not come to sign; `settled` are tasks of receipts."""
        if self.journal is None:
            return
        known = frozenset(settled)
        owed = await self.journal.owed()
        self.journal.settled([terms.task for terms in owed if terms.task in known])
        now = epoch_of(self._clock.unix_us())
        for terms in owed:
            if terms.task not in known:
                settle(replace(terms, epoch=max(terms.epoch, now)))


def _payable(budget_microcredits: int | None, choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """Return those whose price for an item is within the budget; raises BudgetError if nobody's is."""
    if budget_microcredits is None:
        return choices
    payable = tuple(
        choice for choice in choices if choice.local or choice.skill.price_microcredits <= budget_microcredits
    )
    if not payable:
        raise BudgetError(
            f"a budget of {budget_microcredits} micro-credits does not pay for one item of"
            f" {choices[0].skill.name!r}, which costs {prices_text(choices)}"
        )
    return payable
