"""Runs jobs: asks the plan what to send, sends it, feeds back what happened, and hands out results in input order.

It decides nothing itself: chunks are the plan's, the order of peers is the router's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

from swarmharness.errors import (
    DeadlineError,
    ErrorKind,
    InputError,
    PeerLostError,
    ProtocolError,
    RefusedError,
    SwarmError,
    UnavailableError,
)
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner, blames_items
from swarmharness.jobs.context import JobContext, TaskLayers
from swarmharness.jobs.plan import Chunk, ChunkId, JobPlan, PlanSettings
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.ports import Clock
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.router import Choice, Router

ITEMS_HELD_MAX = 65_536
"""A job takes no more items while this many are unanswered, or answered and not yet read."""
CHUNKS_PER_PEER = 2
"""One that runs and one that waits, so that a worker never idles for a round trip."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What an operator can tune about jobs."""

    plan: PlanSettings = field(default_factory=PlanSettings)
    deadline_s: float = 3600.0
    task_timeout_s: float = 60.0
    peers_max: int = 16
    patience_s: float = 15.0
    """How long a job waits for a peer while there is none."""


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The answer to one item: output bytes, or an error that names why there is none."""

    index: int
    output: bytes
    error: str
    error_kind: ErrorKind | None
    peer: str
    service_us: int
    receipt: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job stands."""

    items_total: int
    items_done: int
    peers: dict[str, int]
    """Items answered, by peer."""


class Job:
    """One submission. Feed it, close the feed, read results until they end; leaving its scope cancels what is left."""

    def __init__(
        self,
        skill: str,
        task: str,
        router: Router,
        tasks: TaskRunner,
        clock: Clock,
        settings: JobSettings,
        context: JobContext,
        settle: Callable[[TaskAnswer], None],
    ) -> None:
        self.skill = skill
        self.task = task
        """What kind of items the skill takes (see `execution.items`)."""
        self._router = router
        self._tasks = tasks
        self._clock = clock
        self._settings = settings
        self._context = context
        self._pay = settle
        self._plan = JobPlan(settings.plan)
        self._items: dict[int, bytes] = {}
        self._fed = 0
        self._closed = False
        self._results: dict[int, ItemResult] = {}
        self._handed_out = 0
        self._done_by: Counter[str] = Counter()
        self._flying: dict[ChunkId, trio.CancelScope] = {}
        self._busy: Counter[PeerId] = Counter()
        self._resting_until_us: dict[PeerId, int] = {}
        self._last_failure: SwarmError | None = None
        self._changed = trio.Event()

    # -- the caller's side ------------------------------------------------------------------------------------

    async def feed(self, items: Sequence[bytes], *, last: bool) -> None:
        """Add items in order; waits while too many are unanswered. Items after `last` raise InputError."""
        if self._closed and items:
            raise InputError("this job's input has ended; open another job")
        while self._fed - self._handed_out >= ITEMS_HELD_MAX:
            await self._changed.wait()
        numbered = list(enumerate(items, start=self._fed))
        self._items.update(numbered)
        self._fed += len(items)
        self._closed = self._closed or last
        self._plan.feed((index, len(item)) for index, item in numbered)
        self._wake()

    async def results(self) -> AsyncIterator[ItemResult]:
        """Yield every item's result in input order."""
        while not (self._closed and self._handed_out == self._fed):
            batch = self.ready()
            for result in batch:
                yield result
            if not batch:
                await self._changed.wait()

    def ready(self) -> tuple[ItemResult, ...]:
        """Take the results that are next in input order, possibly none."""
        batch: list[ItemResult] = []
        while (result := self._results.pop(self._handed_out, None)) is not None:
            batch.append(result)
            self._handed_out += 1
        if batch:
            self._wake()
        return tuple(batch)

    async def wait(self, *, timeout_s: float) -> None:
        """Return when something changed, or after the time-out."""
        with trio.move_on_after(timeout_s):
            await self._changed.wait()

    @property
    def done(self) -> bool:
        """Every result was taken and no more can come."""
        return self._closed and self._handed_out == self._fed

    @property
    def progress(self) -> Progress:
        """See `Progress`."""
        return Progress(self._fed, self._fed - len(self._items), dict(self._done_by))

    # -- the driver -------------------------------------------------------------------------------------------

    async def drive(self) -> None:
        """Work until every item has a result; every failure becomes the result of the items that it leaves behind."""
        failure: SwarmError | None = None
        with trio.move_on_after(self._settings.deadline_s):
            async with trio.open_nursery() as nursery:
                try:
                    failure = await self._dispatch(nursery)
                except SwarmError as error:
                    failure = error
                nursery.cancel_scope.cancel()
        for index in self._plan.unanswered:
            self._give_up(index, failure or self._deadline_error())
        self._closed = True
        self._wake()

    def _deadline_error(self) -> DeadlineError:
        why = f"; the last failure was: {self._last_failure}" if self._last_failure else ""
        return DeadlineError(f"the job's deadline of {self._settings.deadline_s:g} s passed{why}")

    async def _dispatch(self, nursery: trio.Nursery) -> SwarmError | None:
        """Hand out chunks until all is answered; returns why it gave up, if it did."""
        alone_since_us = self._clock.monotonic_us()
        while not (self._closed and self._plan.finished):
            changed = self._changed
            choices = await self._choices()
            now_us = self._clock.monotonic_us()
            if choices or self._flying:
                alone_since_us = now_us
            elif now_us - alone_since_us > self._settings.patience_s * 1e6 and not self._plan.finished:
                return self._last_failure or UnavailableError(f"no peer is left for {self.skill!r}")
            for _ in range(CHUNKS_PER_PEER):
                self._assign(nursery, choices)
            with trio.move_on_after(1.0 if choices or self._flying else 0.2):
                await changed.wait()
        return None

    async def _choices(self) -> tuple[Choice, ...]:
        """Return whom to send to, best first; raises UnavailableError if nobody ever served this job."""
        if self._plan.finished:
            return ()
        now_us = self._clock.monotonic_us()
        resting = frozenset(peer for peer, until_us in self._resting_until_us.items() if until_us > now_us)
        try:
            choices = await self._router.choose(self.skill, exclude=resting)
        except UnavailableError as error:
            if not self._done_by and not self._flying and self._last_failure is None:
                raise
            self._last_failure = self._last_failure or error
            return ()
        return choices[: self._settings.peers_max]

    def _assign(self, nursery: trio.Nursery, choices: Sequence[Choice]) -> None:
        rates: dict[str, float] = {
            choice.peer_id: 1e6 / choice.service_us if choice.service_us else 0.0 for choice in choices
        }
        for choice in choices:
            if self._busy[choice.peer_id] >= CHUNKS_PER_PEER:
                continue
            chunk = self._plan.take(choice.peer_id, now_us=self._clock.monotonic_us(), rates=rates)
            if chunk is not None:
                self._busy[choice.peer_id] += 1
                self._flying[chunk.chunk_id] = trio.CancelScope()
                # Now, because another peer may answer them before the attempt begins.
                items = tuple(self._items[index] for index in chunk.indices)
                nursery.start_soon(self._attempt, chunk, items, choice.peer_id, choice.skill)

    async def _attempt(self, chunk: Chunk, items: tuple[bytes, ...], peer_id: PeerId, skill: SkillAdvert) -> None:
        answer: TaskAnswer | None = None
        failure: SwarmError = PeerLostError("another peer was faster")
        with self._flying[chunk.chunk_id]:
            try:
                answer = await self._tasks.run(peer_id, skill, items, timeout_s=self._settings.task_timeout_s)
            except SwarmError as error:
                failure = error
        del self._flying[chunk.chunk_id]
        self._busy[peer_id] -= 1
        if answer is not None:
            self._accept(chunk, answer)
        else:
            self._reject(chunk, peer_id, failure)
        self._wake()

    def _accept(self, chunk: Chunk, answer: TaskAnswer) -> None:
        news = frozenset(self._plan.answered(chunk.chunk_id))
        if not news:
            self._context.purse.release(answer.price_microcredits)
            return
        self._context.purse.spend(answer.price_microcredits)
        self._pay(answer)
        service_us = answer.service_us // len(answer.outputs)
        for index, output in zip(chunk.indices, answer.outputs, strict=True):
            if index in news:
                kind = ErrorKind.INPUT if output.error else None
                self._settle(
                    ItemResult(index, output.data, output.error, kind, answer.peer_id, service_us, answer.receipt)
                )
        for chunk_id in self._plan.superfluous():
            self._flying[chunk_id].cancel()

    def _reject(self, chunk: Chunk, peer_id: PeerId, failure: SwarmError) -> None:
        superfluous = chunk.chunk_id in self._plan.superfluous()
        for item in self._plan.failed(chunk.chunk_id, str(failure), blame_items=blames_items(failure)):
            self._give_up(item.index, failure)
        if superfluous:
            return
        self._last_failure = failure
        if not isinstance(failure, ProtocolError) and not blames_items(failure):
            rest_s = 1.0 if isinstance(failure, RefusedError) else 0.2
            self._resting_until_us[peer_id] = self._clock.monotonic_us() + round(rest_s * 1e6)

    def _give_up(self, index: int, failure: SwarmError) -> None:
        self._settle(ItemResult(index, b"", str(failure) or "unknown failure", failure.kind, "", 0, ""))

    def _settle(self, result: ItemResult) -> None:
        del self._items[result.index]
        self._results[result.index] = result
        if result.peer:
            self._done_by[result.peer] += 1

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class JobService:
    """Opens jobs on this node."""

    def __init__(
        self,
        router: Router,
        layers: TaskLayers,
        clock: Clock,
        settings: JobSettings,
        *,
        settle: Callable[[TaskAnswer], None],
    ) -> None:
        self._router = router
        self._layers = layers
        self._clock = clock
        self._settings = settings
        self._settle = settle

    @asynccontextmanager
    async def open(self, skill: str, settings: JobSettings | None = None) -> AsyncIterator[Job]:
        """Run a job for as long as the block lasts; raises UnavailableError at once if nobody serves the skill."""
        choices = await self._router.choose(skill)
        if not choices:
            raise UnavailableError(
                f"every node that serves {skill!r} failed lately; `swarmharness router explain {skill}` says why"
            )
        context = JobContext()
        tasks = self._layers(context)
        task = choices[0].skill.task
        job = Job(skill, task, self._router, tasks, self._clock, settings or self._settings, context, self._settle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(job.drive)
            yield job
            nursery.cancel_scope.cancel()
