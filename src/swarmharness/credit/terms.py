"""The terms of answered tasks, and the one body that settles them; pure, it never signs or stores."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Annotated

from swarmharness.credit.attribution.games import BatchGame, Chunk, game_text
from swarmharness.credit.receipt import Amount, Epoch, ReceiptBody, TaskId, joint_digest
from swarmharness.protocol.codec import Count, Digest, PeerText, Range, Size

UNSETTLED_MAX = 32_768
"""How many answered tasks a worker remembers; a settlement of a forgotten one is refused."""


@dataclass(frozen=True, slots=True)
class TaskTerms:
    """What requester and worker both know of one answered task, each from its own side of the exchange."""

    task: TaskId
    """16 random bytes, chosen by the requester."""
    requester: PeerText
    worker: PeerText
    epoch: Epoch
    """The worker's hour when it answered."""
    share_microcredits: Amount
    """What the worker gets for it: the price that both agreed on."""
    model_digest: Digest
    input_digest: Digest
    """See `receipt.salted_digest`; so is the next."""
    output_digest: Digest
    skill: Annotated[str, Size(64, 1)]
    items: Annotated[int, Range(1, 2**32)]
    service_us: Count


def sole_game(worker: str, prices: Iterable[int]) -> BatchGame:
    """Return the game of tasks that one worker did alone: a batch with one chunk for each."""
    chunks = tuple(Chunk(price, 1, (worker,)) for price in prices)
    return BatchGame(sum(chunk.price for chunk in chunks), chunks)


@lru_cache(maxsize=256)
def sole_game_text(worker: str, prices: tuple[int, ...]) -> bytes:
    """Return the canonical text of `sole_game`."""
    return game_text(sole_game(worker, prices))


def settlement_body(
    tasks: Sequence[TaskTerms],
    *,
    game: bytes | None = None,
    price_microcredits: int | None = None,
) -> ReceiptBody:
    """Return the body that settles 1 to 20 tasks of one requester, worker, skill and model.

    `game` (a digest) and `price_microcredits` describe the whole game when several workers shared one; by default the
    worker was alone (`sole_game`). The epoch is the latest of the tasks.
    """
    first = tasks[0]
    if game is None:
        alone = sole_game_text(first.worker, tuple(task.share_microcredits for task in tasks))
        game = hashlib.sha256(alone).digest()
    share = sum(task.share_microcredits for task in tasks)
    return ReceiptBody(
        tasks=tuple(task.task for task in tasks),
        requester=first.requester,
        worker=first.worker,
        epoch=max(task.epoch for task in tasks),
        price_microcredits=share if price_microcredits is None else price_microcredits,
        share_microcredits=share,
        game_digest=game,
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
    made = settlement_body(tasks, game=body.game_digest, price_microcredits=body.price_microcredits)
    expected = made if made.epoch == body.epoch else replace(made, epoch=body.epoch)
    if expected == body:
        return None
    return next(item.name for item in fields(body) if getattr(body, item.name) != getattr(expected, item.name))


@dataclass(frozen=True, slots=True)
class UnsettledTask:
    """An answered task, and when it was answered (Unix time)."""

    terms: TaskTerms
    answered_us: int

    @property
    def key(self) -> tuple[str, bytes]:
        """What tells it from all others: the requester, and the name that it gave."""
        return self.terms.requester, self.terms.task


@dataclass(slots=True)
class UnsettledTasks:
    """What a worker has answered and not yet been given a receipt for; bounded, and fair when it is full."""

    most: int = UNSETTLED_MAX
    _by_requester: dict[str, dict[bytes, UnsettledTask]] = field(default_factory=dict)
    """The oldest first."""
    _taken: set[tuple[str, bytes]] = field(default_factory=set)
    _count: int = 0

    def add(self, task: UnsettledTask) -> None:
        """Remember an answered task; when full, the requester with the most unsettled tasks loses its oldest one."""
        requester, name = task.key
        tasks = self._by_requester.setdefault(requester, {})
        if name not in tasks:
            self._count += 1
        tasks[name] = task
        if self._count > self.most:
            greediest = max(self._by_requester, key=lambda peer: len(self._by_requester[peer]))
            self._drop(greediest, next(iter(self._by_requester[greediest])))

    def take(self, requester: str, tasks: Sequence[bytes]) -> list[UnsettledTask] | None:
        """Return these tasks of this requester, which nobody else gets until `settled` or `give_back`.

        None, and nothing is taken, if one is unknown or taken already.
        """
        known = self._by_requester.get(requester, {})
        if not tasks or not all(task in known and (requester, task) not in self._taken for task in tasks):
            return None
        self._taken |= {(requester, task) for task in tasks}
        return [known[task] for task in tasks]

    def give_back(self, tasks: Iterable[UnsettledTask]) -> None:
        """Let tasks that were taken be settled by somebody else, at their old place."""
        self._taken -= {task.key for task in tasks}

    def settled(self, tasks: Iterable[UnsettledTask]) -> None:
        """Forget tasks."""
        for task in tasks:
            self._drop(*task.key)

    def owed(self, requester: str) -> tuple[int, int]:
        """Return how many tasks, and how many micro-credits, this requester has not settled."""
        tasks = self._by_requester.get(requester, {})
        return len(tasks), sum(task.terms.share_microcredits for task in tasks.values())

    def owes_more_than(self, requester: str, microcredits: int, *, answered_before_us: int) -> bool:
        """Tell whether this requester owes more than so much for tasks that were answered before a time."""
        left = microcredits
        for task in self._by_requester.get(requester, {}).values():
            if task.answered_us >= answered_before_us:
                return False
            left -= task.terms.share_microcredits
            if left < 0:
                return True
        return False

    def __contains__(self, task: UnsettledTask) -> bool:
        return task.terms.task in self._by_requester.get(task.terms.requester, {})

    def __iter__(self) -> Iterator[UnsettledTask]:
        for tasks in self._by_requester.values():
            yield from tasks.values()

    def __len__(self) -> int:
        return self._count

    def _drop(self, requester: str, task: bytes) -> None:
        self._taken.discard((requester, task))
        tasks = self._by_requester.get(requester, {})
        if tasks.pop(task, None) is not None:
            self._count -= 1
        if not tasks:
            self._by_requester.pop(requester, None)
