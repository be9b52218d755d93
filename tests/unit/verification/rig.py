"""The checking layers of one node over workers that are functions: thousands of tasks in a second, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import trio

from swarmharness.credit.attribution.games import BatchGame
from swarmharness.credit.service import CreditService
from swarmharness.credit.terms import TaskTerms
from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobContext, JobOptions
from swarmharness.jobs.messages import Output
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.checked import CheckedTasks
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.jobs.verification.reputation import Reputation
from swarmharness.jobs.verification.service import Verification
from swarmharness.jobs.verification.standings import MemoryReputationStore, Standings
from swarmharness.registry.advert import SkillAdvert
from swarmharness.registry.models import ModelKey
from swarmharness.routing.router import Choice, Router
from swarmharness.routing.trust import Trust
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.virtual_time import NodeClock

PRICE = 10
SKILL = SkillAdvert("s", "1", "memory", bytes(32), "exact", True, 64, PRICE, 5, "memory", 0)
ME = PeerId("me")

Worker = Callable[[tuple[bytes, ...]], Sequence[bytes]]


def honest(items: tuple[bytes, ...]) -> list[bytes]:
    return [b"right " + item for item in items]


@dataclass
class Town:
    """Router, runner and credit at once: peers answer as their functions say."""

    workers: dict[str, Worker]
    randomness: SeededRandomness
    settings: VerificationSettings = field(default_factory=VerificationSettings)
    store: MemoryReputationStore = field(default_factory=MemoryReputationStore)
    skills: dict[str, SkillAdvert] = field(default_factory=dict)
    executed: Counter[str] = field(default_factory=Counter)
    paid: list[TaskTerms] = field(default_factory=list)
    games: list[BatchGame] = field(default_factory=list)
    voided: set[str] = field(default_factory=set)
    valid: Counter[str] = field(default_factory=Counter)
    invalid: Counter[str] = field(default_factory=Counter)
    context: JobContext = field(default_factory=JobContext)

    @asynccontextmanager
    async def checks(
        self, verify: str = "adaptive", replicas: int = 2
    ) -> AsyncIterator[tuple[Verification, CheckedTasks]]:
        standings = Standings(NodeClock(), self.settings, self.store)
        verification = Verification(
            cast(Router, self),
            cast(CreditService, self),
            standings,
            NodeClock(),
            self.randomness,
            self.settings,
            own_id=ME,
            near=lambda _: frozenset(),
            trusts=lambda _: False,
        )
        self.context = JobContext(JobOptions(verify, replicas))
        self.context.void = self._void
        async with trio.open_nursery() as nursery:
            await nursery.start(verification.run)
            yield verification, verification.checked(self, self.context)
            nursery.cancel_scope.cancel()

    def prove(self, verification: Verification, peer: str, valid: int = 20) -> None:
        """Let a peer have so many valid answers in a row."""
        verification.judging.standings._put_row(
            peer, SKILL.model, Reputation(valid, changed_s=NodeClock().unix_us() // 10**6)
        )

    def paid_to(self, peer: str) -> int:
        return sum(terms.worker == peer for terms in self.paid)

    async def submit(
        self, verification: Verification, checked: CheckedTasks, peer: str, items: Sequence[bytes]
    ) -> TaskAnswer:
        """Run one task as a job would, and accept its answer."""
        answer = await checked.run(PeerId(peer), self.skills.get(peer, SKILL), tuple(items), timeout_s=60)
        self.context.purse.spend(answer.price_microcredits)
        verification.settle(answer)
        return answer

    # -- as TaskRunner --

    async def run(
        self, peer_id: PeerId, skill: SkillAdvert, items: tuple[bytes, ...], *, timeout_s: float
    ) -> TaskAnswer:
        await trio.lowlevel.checkpoint()
        self.executed[peer_id] += len(items)
        outputs = tuple(Output(data, "") for data in self.workers[peer_id](items))
        if peer_id == ME:
            return TaskAnswer(ME, outputs, 1, 0, 1, "", None, (), True)
        price = skill.price_microcredits * len(items)
        task = self.randomness.token(16)
        digest = bytes(32)
        terms = TaskTerms(task, ME, peer_id, 0, price, skill.model_digest, digest, digest, skill.name, len(items), 1)
        self.context.purse.reserve(price)
        return TaskAnswer(peer_id, outputs, 1, 0, 1, task.hex(), terms)

    # -- as Router --

    async def choose(
        self, skill: str, items: int = 1, *, exclude: frozenset[PeerId] = frozenset(), **_: Any
    ) -> tuple[Choice, ...]:
        return tuple(
            Choice(PeerId(peer), self.skills.get(peer, SKILL), 5, peer == ME)
            for peer in self.workers
            if peer not in exclude
        )

    def note_valid(self, peer_id: str, model: ModelKey) -> None:
        self.valid[peer_id] += 1

    def note_invalid(self, peer_id: str, model: ModelKey, items: int, reason: str) -> None:
        self.invalid[peer_id] += 1

    def trust_of(self, peer_id: str, model: ModelKey) -> Any:
        return Trust(1_000_000, 1_000_000)

    def believe(self, *_: object) -> None:
        return None

    # -- as CreditService --

    def settle_task(self, terms: TaskTerms) -> None:
        self.paid.append(terms)

    def settle_game(self, game: BatchGame, shares: Sequence[Sequence[TaskTerms]]) -> None:
        self.games.append(game)
        for tasks in shares:
            self.paid.extend(tasks)

    def _void(self, receipts: Collection[str]) -> None:
        self.voided |= set(receipts)
