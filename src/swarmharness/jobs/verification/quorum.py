"""Gets further opinions on an answer until they agree, or nobody is left; it judges nobody and pays nobody.

A replica gets the same messages as every task. Each worker commits to its answer before it reveals it, and reveals it
to this node alone: on encrypted channels, under a salt and a task id of its own. So nobody can copy another's answer,
whether the reveal is asked for early or late, and whether replicas run one after the other or at once: the commitment
binds the worker's own id (`messages.commitment_of`). Workers that tell each other are a cartel, against which no order
of messages helps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from swarmharness.errors import BudgetError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.purse import Purse
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.checkers import comparable, pick
from swarmharness.jobs.verification.comparison import compare
from swarmharness.jobs.verification.policy import answers_max
from swarmharness.jobs.verification.standings import Standings
from swarmharness.jobs.verification.verdict import Outcome, Verdict, judge
from swarmharness.ports import Randomness
from swarmharness.registry.advert import SkillAdvert
from swarmharness.routing.router import Choice, Router

FAILURES_MAX = 4
"""Checkers that may fail to answer before the search is over."""
CHECK_FLOOR_S = 5.0
CHECK_FACTOR = 20
"""A checker has so many times the time of the first answer, and at least the floor; never more than the task's own."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be checked, and by whose means."""

    skill: SkillAdvert
    items: tuple[bytes, ...]
    quorum: int
    runner: TaskRunner
    purse: Purse
    timeout_s: float
    parameters: bytes = b""
    """What the runner tells with each task, see `execution.parameters`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All answers, the first one first, and what they amount to. `MORE` means that nobody else could be asked.

    The prices of all but the first are reserved in the purse.
    """

    answers: tuple[TaskAnswer, ...]
    verdict: Verdict
    unpaid: bool = False
    """Whether the budget did not reach for an opinion."""


@dataclass(slots=True)
class _Opinions:
    answers: list[TaskAnswer]
    asked: set[PeerId]
    agreeing: set[tuple[int, int]] = field(default_factory=set)
    failures: int = 0
    unpaid: bool = False


class Quorum:
    """Asks, compares, and asks again. `near` tells a peer's neighbourhood and groups."""

    def __init__(
        self,
        router: Router,
        standings: Standings,
        randomness: Randomness,
        *,
        own_id: PeerId,
        near: Callable[[PeerId], frozenset[str]],
        tolerance: float,
    ) -> None:
        self._router, self._standings, self._randomness = router, standings, randomness
        self._own_id, self._near, self._tolerance = own_id, near, tolerance

    async def anyone(self, skill: SkillAdvert, items: int, *, besides: PeerId) -> bool:
        """Tell whether there is a second node that could check an answer."""
        return bool(await self._choices(skill, items, {besides}))

    async def find(self, question: Question, first: TaskAnswer) -> Finding:
        """Return the opinions on an answer."""
        opinions = _Opinions([first], {first.peer_id})
        most = answers_max(question.quorum)
        try:
            while True:
                verdict = judge(
                    len(opinions.answers),
                    opinions.agreeing,
                    quorum=question.quorum,
                    most=most,
                    certain=self._certain(opinions),
                )
                if verdict.outcome is not Outcome.MORE or opinions.failures > FAILURES_MAX:
                    return Finding(tuple(opinions.answers), verdict, opinions.unpaid)
                if not await self._ask(question, opinions, verdict.missing):
                    return Finding(tuple(opinions.answers), verdict, opinions.unpaid)
        except BaseException:
            for answer in opinions.answers[1:]:
                question.purse.release(answer.price_microcredits)
            raise

    def _certain(self, opinions: _Opinions) -> int | None:
        own = [place for place, answer in enumerate(opinions.answers) if answer.peer_id == self._own_id]
        return own[0] if own else None

    async def _ask(self, question: Question, opinions: _Opinions, missing: int) -> bool:
        """Ask so many further peers at once, and compare what they answer; False if there is nobody to ask."""
        chosen: list[Choice] = []
        for _ in range(missing):
            choices = await self._choices(question.skill, len(question.items), opinions.asked)
            choice = pick(
                choices,
                asked=[self._near(peer) for peer in opinions.asked],
                near=[self._near(choice.peer_id) for choice in choices],
                decider=len(opinions.answers) > 1,
                draw=self._randomness.below(2**62),
            )
            if choice is None:
                break
            opinions.asked.add(choice.peer_id)
            chosen.append(choice)
        came: list[TaskAnswer] = []
        first_s = opinions.answers[0].elapsed_us / 1e6
        timeout_s = min(question.timeout_s, max(CHECK_FLOOR_S, CHECK_FACTOR * first_s))

        async def ask(choice: Choice) -> None:
            try:
                answer = await question.runner.run(choice.peer_id, choice.skill, question.items, timeout_s=timeout_s)
            except SwarmError as error:
                opinions.failures += 1
                opinions.unpaid = opinions.unpaid or isinstance(error, BudgetError)
                return
            came.append(answer)
            if any(answer.peer_id == earlier.peer_id for earlier in (*opinions.answers, *came[:-1])):
                came.pop()  # a hedge went to somebody whose opinion is known
                question.purse.release(answer.price_microcredits)
                opinions.failures += 1

        try:
            async with trio.open_nursery() as nursery:
                for choice in chosen:
                    nursery.start_soon(ask, choice)
        finally:
            start = len(opinions.answers)
            opinions.answers.extend(came)
            opinions.asked.update(answer.peer_id for answer in came)
        for place in range(start, len(opinions.answers)):
            for earlier in range(place):
                if await self._agree(question.skill, opinions.answers[earlier], opinions.answers[place]):
                    opinions.agreeing.add((earlier, place))
        return bool(chosen)

    async def _agree(self, skill: SkillAdvert, left: TaskAnswer, right: TaskAnswer) -> bool:
        steps = compare(skill.kind, left.outputs, right.outputs, self._tolerance)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return bool(end.value)
            await trio.lowlevel.checkpoint()

    async def _choices(self, skill: SkillAdvert, items: int, asked: set[PeerId]) -> list[Choice]:
        try:
            choices = await self._router.choose(
                skill.name, items, exclude=frozenset(asked), model_digest=skill.model_digest
            )
        except UnavailableError:
            return []
        return [
            choice
            for choice in choices
            if comparable(choice, skill) and not self._standings.shunned(choice.peer_id, skill.name)
        ]
