"""The terms of answered tasks, and the one body that settles them; pure, it never signs or stores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from swarmharness.credit.receipt import ZERO_DIGEST, ReceiptBody, joint_digest
from swarmharness.identity import PeerId

UNSETTLED_MAX = 32_768
"""How many answered tasks a worker remembers; a settlement of a forgotten one is refused."""


@dataclass(frozen=True, slots=True)
class TaskTerms:
    """What requester and worker both know of one answered task, each from its own side of the exchange."""

    task: bytes
    """16 random bytes, chosen by the requester."""
    requester: PeerId
    worker: PeerId
    epoch: int
    """The worker's hour when it answered."""
    share_microcredits: int
    """What the worker gets for it: the price that both agreed on."""
    model_digest: bytes
    input_digest: bytes
    """See `receipt.salted_digest`; so is the next."""
    output_digest: bytes
    skill: str
    items: int
    service_us: int


def settlement_body(
    tasks: Sequence[TaskTerms],
    *,
    game_digest: bytes = ZERO_DIGEST,
    price_microcredits: int | None = None,
) -> ReceiptBody:
    """Return the body that settles 1 to 20 tasks of one requester, worker, skill and model.

    `game_digest` and `price_microcredits` (by default the sum of the shares) describe the whole game when several
    workers shared one. The epoch is the latest of the tasks.
    """
    first = tasks[0]
    share = sum(task.share_microcredits for task in tasks)
    return ReceiptBody(
        tasks=tuple(task.task for task in tasks),
        requester=first.requester,
        worker=first.worker,
        epoch=max(task.epoch for task in tasks),
        price_microcredits=share if price_microcredits is None else price_microcredits,
        share_microcredits=share,
        game_digest=game_digest,
        model_digest=first.model_digest,
        input_digest=joint_digest(task.input_digest for task in tasks),
        output_digest=joint_digest(task.output_digest for task in tasks),
        skill=first.skill,
        items=sum(task.items for task in tasks),
        service_us=sum(task.service_us for task in tasks),
    )


def differing_field(body: ReceiptBody, tasks: Sequence[TaskTerms]) -> str | None:
    """Return the name of a field in which `body` contradicts what this worker remembers of the tasks, or None.

    The game is the requester's statement, and the epoch may be later than the tasks: both are checked elsewhere.
    """
    first = tasks[0]
    if any(
        (task.requester, task.skill, task.model_digest) != (first.requester, first.skill, first.model_digest)
        for task in tasks
    ):
        return "tasks"
    expected = settlement_body(tasks, game_digest=body.game_digest, price_microcredits=body.price_microcredits)
    names = (item.name for item in fields(ReceiptBody) if item.name != "epoch")
    return next((name for name in names if getattr(body, name) != getattr(expected, name)), None)


@dataclass(slots=True)
class UnsettledTasks:
    """What a worker has answered and not yet been given a receipt for; bounded, and fair when it is full."""

    most: int = UNSETTLED_MAX
    _by_requester: dict[str, dict[bytes, TaskTerms]] = field(default_factory=dict)
    _count: int = 0

    def add(self, terms: TaskTerms) -> None:
        """Remember an answered task; when full, the requester with the most unsettled tasks loses its oldest one."""
        tasks = self._by_requester.setdefault(terms.requester, {})
        if terms.task not in tasks:
            self._count += 1
        tasks[terms.task] = terms
        if self._count > self.most:
            greediest = max(self._by_requester, key=lambda peer: len(self._by_requester[peer]))
            self._drop(greediest, next(iter(self._by_requester[greediest])))

    def take(self, requester: str, tasks: Sequence[bytes]) -> list[TaskTerms] | None:
        """Return and forget these tasks of this requester, or None (and forget nothing) if one is unknown."""
        known = self._by_requester.get(requester, {})
        if not tasks or not all(task in known for task in tasks):
            return None
        taken = [known[task] for task in tasks]
        for task in set(tasks):
            self._drop(requester, task)
        return taken

    def owed(self, requester: str) -> tuple[int, int]:
        """Return how many tasks, and how many micro-credits, this requester has not settled."""
        tasks = self._by_requester.get(requester, {})
        return len(tasks), sum(terms.share_microcredits for terms in tasks.values())

    def __len__(self) -> int:
        return self._count

    def _drop(self, requester: str, task: bytes) -> None:
        tasks = self._by_requester[requester]
        del tasks[task]
        self._count -= 1
        if not tasks:
            del self._by_requester[requester]
