"""Tasks that are answered and not settled: which one is to be checked, what a failure voids; it checks nothing itself.

One task of a batch is drawn uniformly after all were answered. To hold the items of one task instead of twenty, it is
drawn as they come (reservoir sampling: the n-th takes the place with probability 1/n): the distribution is the same,
and no worker sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX
from swarmharness.credit.terms import TaskTerms
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.jobs.verification.quorum import Question
from swarmharness.registry.models import ModelKey

BATCHES_MAX = 256
DRAWN_BYTES_MAX = 128 * 2**20
"""Beyond so many batches, or so many bytes of the tasks drawn in them, the oldest batch is settled."""
AMOUNT_MAX = AMOUNT_MICROCREDITS_MAX // 64
"""A batch that moves more is settled early, so that what one receipt and its game can say always suffices."""

Key = tuple[str, ModelKey]
"""Worker and model: only what agrees in these is settled together."""


@dataclass(frozen=True, slots=True)
class Unsettled:
    """An answer that was accepted without a check, and all that a check of it needs."""

    answer: TaskAnswer
    terms: TaskTerms
    question: Question
    void: Callable[[Collection[str]], None]
    """Tells its job that its answer is not to be believed."""

    @property
    def size_bytes(self) -> int:
        """What keeping it takes."""
        return sum(map(len, self.question.items)) + sum(len(output.data) for output in self.answer.outputs)


@dataclass(slots=True)
class Batch:
    """The unsettled tasks of one key. Only the drawn one keeps its items and outputs."""

    key: Key
    opened_us: int
    drawn: Unsettled
    terms: list[TaskTerms] = field(default_factory=list)
    voids: list[tuple[str, Callable[[Collection[str]], None]]] = field(default_factory=list)
    """Receipt and job of every task."""
    amount_microcredits: int = 0


class Batches:
    """The open batches, the oldest first."""

    def __init__(self, most: int = BATCHES_MAX) -> None:
        self._most = most
        self._open: dict[Key, Batch] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def amount_microcredits(self) -> int:
        """What is owed for all tasks in open batches."""
        return sum(batch.amount_microcredits for batch in self._open.values())

    def size(self, key: Key) -> int:
        """Return how many tasks the open batch of this key has."""
        batch = self._open.get(key)
        return 0 if batch is None else len(batch.terms)

    def add(self, key: Key, task: Unsettled, *, limit: int, draw: int, now_us: int) -> list[Batch]:
        """Add a task, with a draw below `size(key) + 1`; returns the batches that are complete by that."""
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = Batch(key, now_us, task)
        elif draw == 0:
            batch.drawn = task
        batch.terms.append(task.terms)
        batch.voids.append((task.answer.receipt, task.void))
        batch.amount_microcredits += task.terms.share_microcredits
        full = len(batch.terms) >= limit or batch.amount_microcredits > AMOUNT_MAX
        leaving = [self._open.pop(key)] if full else []
        while len(self._open) > self._most or self._drawn_bytes() > DRAWN_BYTES_MAX:
            leaving.append(self._open.pop(next(iter(self._open))))
        return leaving

    def _drawn_bytes(self) -> int:
        return sum(batch.drawn.size_bytes for batch in self._open.values())

    def take(self, key: Key) -> Batch | None:
        """Take the open batch of a key out, if there is one."""
        return self._open.pop(key, None)

    def due(self, opened_before_us: int) -> list[Batch]:
        """Take out the batches that were opened before a time."""
        old = [key for key, batch in self._open.items() if batch.opened_us <= opened_before_us]
        return [self._open.pop(key) for key in old]

    def next_opened_us(self) -> int | None:
        """Return when the oldest open batch was opened, or None."""
        return min((batch.opened_us for batch in self._open.values()), default=None)
