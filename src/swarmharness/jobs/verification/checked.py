"""The layer of a job that checks answers before it hands them up; it settles nothing, and sends nothing by itself.

`none` believes. `always` hands up what a quorum agreed on, or nothing. `adaptive` does that with peers that are not
proven, and hands up the others' answers at once: those are checked by the batch (`settling`) after the job has
accepted them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import trio

from swarmharness.errors import BudgetError, NoCheckerError, ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.context import JobContext
from swarmharness.jobs.messages import Output
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.batches import Unsettled
from swarmharness.jobs.verification.comparison import agree
from swarmharness.jobs.verification.judging import Judging
from swarmharness.jobs.verification.known import ONE_TASK_IN, TASK_ITEMS_MIN, KnownItem
from swarmharness.jobs.verification.policy import Mode
from swarmharness.jobs.verification.quorum import Finding, Question
from swarmharness.jobs.verification.settling import Settling
from swarmharness.jobs.verification.verdict import Outcome
from swarmharness.registry.advert import SkillAdvert

CHECKER_PATIENCE_S = 15.0
"""How long a task of `always` waits for a second node while there is none."""
CHECKER_POLL_S = 0.25


@dataclass(frozen=True, slots=True)
class _Spot:
    """A known item at one place of a task."""

    known: KnownItem
    place: int


class CheckedTasks:
    """`TaskRunner` of one job."""

    def __init__(self, runner: TaskRunner, context: JobContext, judging: Judging, settling: Settling) -> None:
        self._runner, self._context = runner, context
        self._judging, self._settling = judging, settling
        self._mode = Mode(context.options.verify)
        self._quorum = max(2, context.options.replicas)
        self._parameters = context.options.parameters

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        """See `TaskRunner`.

        Raises NoCheckerError when `always` finds no second node, BudgetError when it cannot pay for one, and SwarmError
        when the nodes disagree.
        """
        mode = self._mode
        if mode is Mode.ADAPTIVE and self._judging.trusts(peer_id):
            mode = Mode.NONE
        if mode is Mode.NONE:
            return await self._runner.run(peer_id, skill, items, timeout_s=timeout_s)
        if mode is Mode.ALWAYS:
            await self._wait_for_checker(peer_id, skill, len(items))
        spot = self._draw_spot(peer_id, skill, items) if mode is Mode.ADAPTIVE else None
        sent = items if spot is None else (*items[: spot.place], spot.known.item, *items[spot.place :])
        aside = await self._set_aside(skill, len(items)) if mode is Mode.ALWAYS else 0
        try:
            answer = await self._runner.run(peer_id, skill, sent, timeout_s=timeout_s)
        finally:
            self._context.purse.release(aside)  # each checker reserves its own
        question = Question(skill, items, self._quorum, self._runner, self._context.purse, timeout_s, self._parameters)
        try:
            missed = False
            if spot is not None:
                answer, missed = self._without_spot(answer, spot, skill)
            return await self._judged(question, answer, mode, spot.known if spot is not None and missed else None)
        except BaseException:
            self._context.purse.release(answer.price_microcredits)
            raise

    async def _judged(self, question: Question, answer: TaskAnswer, mode: Mode, missed: KnownItem | None) -> TaskAnswer:
        """Return the answer that is believed; raises if there is none. The price of `answer` alone is reserved then."""
        if answer.terms is None:
            return answer  # this node's own
        peer_id, skill = answer.peer_id, question.skill
        if missed is not None and missed.certain:
            self._blame(answer, skill, "an item with a known answer")
            raise ProtocolError(f"{peer_id} answered an item wrongly whose answer is known here")
        if mode is Mode.ADAPTIVE and missed is None and self._judging.batch_tasks(peer_id, skill.model) > 1:
            if await self._judging.quorum.anyone(skill, len(question.items), besides=peer_id):
                self._settling.expect(self._unsettled(question, answer))
            return answer
        finding = await self._judging.quorum.find(question, answer)
        if missed is not None:
            self._judging.drop_known(skill, missed.item, self._parameters)
        return await self._believed(question, answer, finding, mode)

    async def _believed(self, question: Question, first: TaskAnswer, finding: Finding, mode: Mode) -> TaskAnswer:
        verdict, answers = finding.verdict, finding.answers
        others = [answer for place, answer in enumerate(answers) if place]
        if verdict.outcome is Outcome.AGREED:
            return self._winner(question, first, finding)
        for answer in others:
            question.purse.release(answer.price_microcredits)
        if len(answers) > 1:
            for answer in answers:
                self._judging.doubt(answer, question.skill)
                self._settling.distrust(answer)
            raise SwarmError(
                f"the nodes disagree: {len(answers)} answers to the same items, of which no {question.quorum} agree; "
                "the items stay without a result rather than with a guess"
            )
        if mode is Mode.ALWAYS:
            raise (
                BudgetError("the budget has nothing left for a check")
                if finding.unpaid
                else _no_checker(question.skill)
            )
        return first

    def _winner(self, question: Question, first: TaskAnswer, finding: Finding) -> TaskAnswer:
        """Return the first of those that were right, with what the others of them are to get; blames the wrong ones."""
        right = [finding.answers[place] for place in finding.verdict.right]
        for place in finding.verdict.wrong:
            wrong = finding.answers[place]
            question.purse.release(wrong.price_microcredits)
            self._blame(wrong, question.skill, "others agree on another answer")
        self._judging.right(right, question.skill, question.items, parameters=self._parameters)
        paid = [answer for answer in right if answer.terms is not None]
        if not paid:
            return replace(right[0], verified=True)
        confirming = tuple(answer.terms for answer in paid[1:] if answer.terms is not None)
        return replace(paid[0], verified=True, confirmed_by=confirming)

    def _blame(self, answer: TaskAnswer, skill: SkillAdvert, reason: str) -> None:
        if answer.terms is not None:
            self._judging.wrong(answer, skill, reason)
            self._settling.void(answer.terms)

    def _unsettled(self, question: Question, answer: TaskAnswer) -> Unsettled:
        assert answer.terms is not None
        return Unsettled(answer, answer.terms, question, self._context.void)

    async def _wait_for_checker(self, peer_id: PeerId, skill: SkillAdvert, items: int) -> None:
        """Return when a second node is there, before anybody works in vain."""
        if peer_id == self._judging.own_id:
            return
        with trio.move_on_after(CHECKER_PATIENCE_S):
            while True:
                if await self._judging.quorum.anyone(skill, items, besides=peer_id):
                    return
                await trio.sleep(CHECKER_POLL_S)
        raise _no_checker(skill)

    async def _set_aside(self, skill: SkillAdvert, items: int) -> int:
        """Reserve what the checks of a task of `always` will cost, before anybody works in vain; raises BudgetError."""
        price = skill.price_microcredits * items * (self._quorum - 1)
        if self._context.purse.reserve(price):
            return price
        await trio.sleep(CHECKER_POLL_S)  # what is under way may give some back
        raise BudgetError(f"the checks of {items} items cost {price} micro-credits, more than the budget has left")

    # -- spot checks ----------------------------------------------------------------------------------------------

    def _draw_spot(self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...]) -> _Spot | None:
        judging = self._judging
        if (
            not judging.settings.spot_checks
            or not skill.batch_invariant  # another item in its batch would change the others' results
            or len(items) < TASK_ITEMS_MIN
            or peer_id == judging.own_id
            or judging.below(ONE_TASK_IN)
            or judging.batch_tasks(peer_id, skill.model) == 1
        ):
            return None
        known = judging.known.take((skill.model, self._parameters), peer_id, judging.below(2**62))
        return None if known is None else _Spot(known, judging.below(len(items) + 1))

    def _without_spot(self, answer: TaskAnswer, spot: _Spot, skill: SkillAdvert) -> tuple[TaskAnswer, bool]:
        """Return the answer as the job asked for it, and whether the known item was missed."""
        outputs: list[Output] = list(answer.outputs)
        said = outputs.pop(spot.place)
        known = spot.known.output if spot.known.flags_known else replace(spot.known.output, flags=said.flags)
        right = agree(skill.kind, (known,), (said,), self._judging.settings.tolerance)
        return replace(answer, outputs=tuple(outputs)), not right


def _no_checker(skill: SkillAdvert) -> NoCheckerError:
    return NoCheckerError(
        f"nobody can check the answers: no second node serves {skill.name!r} with the same model "
        f"({skill.model_digest.hex()[:12]}…, {skill.comparison_class}); start one, or use `--verify adaptive`"
    )
