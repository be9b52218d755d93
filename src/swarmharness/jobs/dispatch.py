"""Sends one job's chunks: asks the plan what, the router whom, and tells both how it ended; it knows no results.

It sends to peers of one model alone. A peer that fails rests for a moment. Where no peer is left, a job that somebody
has served waits until its deadline. Another one is given up after a while, and so is every job that no peer can be paid
for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from swarmharness.errors import (
    BudgetError,
    DeadlineError,
    NoCheckerError,
    PeerLostError,
    ProtocolError,
    RefusedError,
    SwarmError,
    UnavailableError,
)
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner, blames_items
from swarmharness.jobs.bell import Bell
from swarmharness.jobs.pinning import Pinning
from swarmharness.jobs.plan import Chunk, ChunkId, JobPlan, PlanSettings
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.ports import Clock
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey
from swarmharness.routing.decisions import Decision
from swarmharness.routing.router import Choice, Router

CHUNKS_PER_PEER = 2
"""One that runs and one that waits, so that a worker never idles for a round trip."""
PRICES_SHOWN = 5
ENDING_LOOK_S = 0.1
ALONE_LOOK_S, ALONE_LOOK_S_MAX = 0.2, 2.0
"""Between two looks for a peer while there is none: the longer there was none, the longer."""
WAITING_AFTER_US = 2_000_000
"""A job that nobody answered for so long, and whose tasks fail, says that it waits."""

Why = Callable[[], Mapping[str, Any]]
"""Forms the reasons of a decision, in any thread."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """What an operator can tune about jobs."""

    plan: PlanSettings = field(default_factory=PlanSettings)
    deadline_s: float = 3600.0
    task_timeout_s: float = 60.0
    peers_max: int = 16
    patience_s: float = 15.0
    """How long a job that nobody has served waits for a peer while there is none."""
    window_items: int = 16_384
    """A job takes no more items while so many were fed and not yet handed out,"""
    window_bytes: int = 64 * 2**20
    """or while those have so many bytes."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """What the dispatcher tells a job, and asks of it."""

    item: Callable[[int], bytes]
    accept: Callable[[tuple[int, ...], TaskAnswer, Why | None], None]
    """Takes the answer for these items, in their order."""
    give_up: Callable[[int, SwarmError], None]
    """Takes the reason why an item never gets an answer."""
    over: Callable[[], bool]
    """Whether nothing is left to do, and nothing more can come."""


class Dispatcher:
    """One job's traffic."""

    def __init__(
        self,
        model: ModelKey,
        router: Router,
        tasks: TaskRunner,
        clock: Clock,
        settings: JobSettings,
        purse: Purse,
        bell: Bell,
        dispatch: Dispatch,
        *,
        pinning: Pinning,
        explained: bool,
        begun: bool,
        waits: bool,
        begun_s: float | None = None,
        takes: Sequence[str] = (),
        copies: int = 1,
    ) -> None:
        """`explained` keeps the router's reasons; `begun` says that the job goes on with what it was fed before.

        Its deadline counts from `begun_s` in trio's time, or from `run`. It `waits` for a peer until the deadline, as
        it does once somebody has served it. `pinning` picks a model where `model` has no digest. `takes` are the
        parameters that a peer must take. `copies` of a task are paid.
        """
        self.plan = JobPlan(settings.plan)
        self._model, self._pinning = model, pinning
        self._router, self._tasks, self._clock = router, tasks, clock
        self._settings, self._purse, self._bell, self._job = settings, purse, bell, dispatch
        self._explained = explained
        self._begun, self._waits, self._begun_s, self._takes = begun, waits, begun_s, takes
        self._copies = copies
        self._hopeless: NoCheckerError | None = None
        self._flying: dict[ChunkId, trio.CancelScope] = {}
        self._busy: Counter[PeerId] = Counter()
        self._resting_until_us: dict[PeerId, int] = {}
        self._alone_since_us: int | None = None
        """Since when there is nobody to send to, and nothing under way."""
        self._failing_since_us: int | None = None
        """Since when tasks failed, and none was answered."""
        self.last_failure: SwarmError | None = None

    async def run(self, nursery: trio.Nursery) -> SwarmError | None:
        """Hand out chunks, each a task of `nursery`, until the job is over; returns why it was given up, if it was.

        Raises DeadlineError when the job's time is up. Neither waits for what is under way: see `stop`.
        """
        begun_s = trio.current_time() if self._begun_s is None else self._begun_s
        ends_s = begun_s + self._settings.deadline_s
        while not self._job.over():
            if trio.current_time() >= ends_s:
                raise self._deadline_error()
            with trio.CancelScope(deadline=ends_s) as look:
                ring = self._bell.next
                choices = await self._choices()
                now_us = self._clock.monotonic_us()
                if choices or self._flying or self.plan.finished:
                    self._alone_since_us = None
                elif self._alone_since_us is None:
                    self._alone_since_us = now_us
                given_up = None if self._waits else self._lack(now_us)
                if given_up is not None:
                    return given_up
                limited = self._purse.limit_microcredits is not None
                payable = [choice for choice in choices if self._payable_items(choice) != 0] if limited else choices
                if choices and not payable and not self._flying:
                    return self._budget_error(choices)
                for turn in range(CHUNKS_PER_PEER):
                    self._assign(nursery, payable, now_us, ranked=turn == 0)
                look.deadline = min(ends_s, trio.current_time() + self._next_look_s(choices))
                await ring.wait()
        return None

    @property
    def waiting_for(self) -> str:
        """What the job waits for because there is nobody to go on with; empty while it goes on."""
        if self.plan.finished:
            return ""
        now_us = self._clock.monotonic_us()
        since_us = [us for us in (self._alone_since_us, self._failing_since_us) if us is not None]
        if not since_us or now_us - min(since_us) < WAITING_AFTER_US:
            return ""
        who = "a second node, to check answers," if self._hopeless else "a node"
        why = f" (the last one failed: {self.last_failure})" if self.last_failure and not self._hopeless else ""
        return f"{who} that serves {self._model}{why}"

    def _lack(self, now_us: int) -> SwarmError | None:
        """Return why a job that nobody has served yet is given up now, if it is."""
        if self._hopeless is not None:
            return self._hopeless
        if self._alone_since_us is None or now_us - self._alone_since_us <= self._settings.patience_s * 1e6:
            return None
        return self._nobody_left()

    async def stop(self) -> None:
        """Cancel what is under way, and return when it has ended."""
        for scope in self._flying.values():
            scope.cancel()
        while self._flying:
            await self._bell.wait()

    def let_go(self) -> None:
        """Forget the job, once nothing runs any more."""
        del self._job

    async def _choices(self) -> tuple[Choice, ...]:
        """Return whom to send to, best first; raises UnavailableError if nobody serves a job that has only begun."""
        if self.plan.finished:
            return ()
        now_us = self._clock.monotonic_us()
        resting = frozenset(peer for peer, until_us in self._resting_until_us.items() if until_us > now_us)
        try:
            choices = await self._router.choose(
                self._model.skill,
                exclude=resting,
                model_digest=self._model.digest,
                takes=self._takes,
                input_bytes=self.plan.next_bytes,
            )
        except UnavailableError as error:
            only_begun = not (self._begun or self._waits or self._flying) and self.last_failure is None
            self.last_failure = self.last_failure or error
            if only_begun:
                raise self._nobody_left() from None
            return ()
        if choices and not self._model.digest:  # a job of the first release, of which nobody noted the model
            self._model = self._pinning.pick(choices).skill.model
            choices = tuple(choice for choice in choices if choice.skill.model == self._model)
        return choices[: self._settings.peers_max]

    def _nobody_left(self) -> SwarmError:
        """Say why the job is given up: nobody serves its model any more, or who does fails."""
        failure = self.last_failure
        if failure is not None and self._offered():
            return failure
        why = f"; the last failure was: {failure}" if failure else ""
        return UnavailableError(f"no node is left that serves {self._model}; a job never goes on with another one{why}")

    def _offered(self) -> bool:
        return any(
            model.usable and model.digest == self._model.digest for model in self._router.models(self._model.skill)
        )

    def _payable_items(self, choice: Choice) -> int | None:
        """Return how many items the purse pays for there; None is as many as one likes."""
        free = self._purse.free_microcredits
        if free is None or choice.local or not choice.skill.price_microcredits:
            return None
        return free // (choice.skill.price_microcredits * self._copies)

    def _deadline_error(self) -> DeadlineError:
        why = f"; the last failure was: {self.last_failure}" if self.last_failure else ""
        waiting = self.waiting_for
        if waiting:
            why = f" while it waited for {waiting}"
        return DeadlineError(f"the job's deadline of {self._settings.deadline_s:g} s passed{why}")

    def _budget_error(self, choices: Sequence[Choice]) -> BudgetError:
        purse = self._purse
        return BudgetError(
            f"the budget of {purse.limit_microcredits} micro-credits is used up, {purse.spent_microcredits} are spent;"
            f" one more item costs {prices_text(choices)}"
        )

    def _assign(self, nursery: trio.Nursery, choices: Sequence[Choice], now_us: int, *, ranked: bool) -> None:
        """Give each of them a chunk; `ranked` says that nothing was sent since they were put in order."""
        if not self.plan.has_work(now_us):
            return
        rates: dict[str, float] = {
            choice.peer_id: 1e6 / choice.service_us if choice.service_us else 0.0 for choice in choices
        }
        for choice in choices:
            if self._busy[choice.peer_id] >= CHUNKS_PER_PEER:
                continue
            if not self.plan.has_work(now_us):
                return
            most = self._payable_items(choice)
            chunk = self.plan.take(
                choice.peer_id,
                now_us=now_us,
                rates=rates,
                items_max=most,
                soonest=ranked and choice is choices[0],
                begins_us=self._begins_us,
            )
            if chunk is not None:
                self._busy[choice.peer_id] += 1
                self._flying[chunk.chunk_id] = trio.CancelScope()
                # Now, because another peer may answer them before the attempt begins.
                items = tuple(map(self._job.item, chunk.indices))
                nursery.start_soon(self._attempt, chunk, items, choice.peer_id, choice.skill)

    def _next_look_s(self, choices: Sequence[Choice]) -> float:
        """Return how long to wait for news at most: at the end of a job, a late chunk is news that nobody tells."""
        if self.plan.ending:
            return ENDING_LOOK_S
        if choices or self._flying or self._alone_since_us is None:
            return 1.0 if choices or self._flying else ALONE_LOOK_S
        alone_s = (self._clock.monotonic_us() - self._alone_since_us) / 1e6
        return min(max(ALONE_LOOK_S, alone_s / 10), ALONE_LOOK_S_MAX)

    def _begins_us(self, peer_id: str) -> int:
        return self._router.expected_us(PeerId(peer_id), self._model, 0) or 0

    async def _attempt(self, chunk: Chunk, items: tuple[bytes, ...], peer_id: PeerId, skill: SkillAdvert) -> None:
        answer: TaskAnswer | None = None
        failure: SwarmError = PeerLostError("another peer was faster")
        why: Decision | None = None
        if self._explained:
            why = self._router.decision(peer_id, skill.model, len(items), input_bytes=sum(map(len, items)))
        with self._flying[chunk.chunk_id]:
            try:
                answer = await self._tasks.run(peer_id, skill, items, timeout_s=self._settings.task_timeout_s)
            except SwarmError as error:
                failure = error
        del self._flying[chunk.chunk_id]
        self._busy[peer_id] -= 1
        if answer is not None:
            self._accept(chunk, answer, None if why is None else why.as_dict)
        else:
            self._reject(chunk, peer_id, failure)
        self._bell.ring()

    def _accept(self, chunk: Chunk, answer: TaskAnswer, why: Why | None) -> None:
        indices = self.plan.answered(chunk.chunk_id)
        if not indices:  # another peer was faster, and is paid
            self._purse.release(answer.price_microcredits)
            return
        self._purse.spend(answer.price_microcredits)
        self._waits, self._hopeless, self._failing_since_us = True, None, None
        self._job.accept(indices, answer, why)
        for chunk_id in self.plan.superfluous():
            self._flying[chunk_id].cancel()

    def _reject(self, chunk: Chunk, peer_id: PeerId, failure: SwarmError) -> None:
        superfluous = chunk.chunk_id in self.plan.superfluous()
        for item in self.plan.failed(chunk.chunk_id, str(failure), blame_items=blames_items(failure)):
            self._job.give_up(item.index, failure)
        if superfluous or isinstance(failure, BudgetError):
            return
        self.last_failure = failure
        if self._failing_since_us is None:
            self._failing_since_us = self._clock.monotonic_us()
        if isinstance(failure, NoCheckerError):
            self._hopeless = failure
        if not isinstance(failure, ProtocolError) and not blames_items(failure):
            rest_s = 1.0 if isinstance(failure, RefusedError) else 0.2
            self._resting_until_us[peer_id] = self._clock.monotonic_us() + round(rest_s * 1e6)


def prices_text(choices: Sequence[Choice]) -> str:
    """Return the prices of one item at the cheapest peers, in words."""
    ordered = sorted(choices, key=lambda choice: (choice.skill.price_microcredits, choice.peer_id))
    shown = [f"{choice.skill.price_microcredits} at {choice.peer_id}" for choice in ordered[:PRICES_SHOWN]]
    more = f" and more at {len(ordered) - PRICES_SHOWN} others" if len(ordered) > PRICES_SHOWN else ""
    return ", ".join(shown) + more
