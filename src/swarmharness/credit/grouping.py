"""Which tasks a requester settles in one receipt, and when that leaves; pure, time comes in as an argument.

A task that comes while nothing of its kind is under way leaves at once. Those that come meanwhile leave together when
the first is settled, when there are enough of them, or after a moment: nobody waits for a signature that never comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX, SETTLEMENT_TASKS_MAX
from swarmharness.credit.terms import TaskTerms

PATIENCE_US = 100_000
GROUPED_MAX = 16_384
"""Tasks that wait; beyond it they leave alone."""

Kind = tuple[str, str, bytes]
"""The worker, the skill and the model: only what agrees in these is settled together."""


def kind_of(terms: TaskTerms) -> Kind:
    """Return what a task must have in common with others of its settlement."""
    return terms.worker, terms.skill, terms.model_digest


@dataclass(slots=True)
class Grouping:
    """The tasks that wait to be settled, by kind."""

    _waiting: dict[Kind, list[TaskTerms]] = field(default_factory=dict)
    _due_us: dict[Kind, int] = field(default_factory=dict)
    _under_way: Counter[Kind] = field(default_factory=Counter)
    _count: int = 0

    def add(self, terms: TaskTerms, now_us: int) -> list[TaskTerms]:
        """Return the tasks that are settled now, or none if this one waits for others."""
        kind = kind_of(terms)
        if not self._under_way[kind] or self._count >= GROUPED_MAX:
            return self._leave(kind, [terms])
        waiting = self._waiting.setdefault(kind, [])
        full = sum(one.share_microcredits for one in waiting) + terms.share_microcredits > AMOUNT_MICROCREDITS_MAX
        leaving = self._take(kind) if full else []
        waiting = self._waiting.setdefault(kind, [])
        waiting.append(terms)
        self._count += 1
        self._due_us.setdefault(kind, now_us + PATIENCE_US)
        return leaving or (self._take(kind) if len(waiting) >= SETTLEMENT_TASKS_MAX else [])

    def ended(self, kind: Kind) -> list[TaskTerms]:
        """Hear that a settlement of this kind ended, however; return what is settled next."""
        self._under_way[kind] -= 1
        if self._under_way[kind] > 0:
            return []
        del self._under_way[kind]
        return self._take(kind) if kind in self._waiting else []

    def due(self, now_us: int) -> Iterable[list[TaskTerms]]:
        """Return the groups that have waited long enough."""
        return [self._take(kind) for kind, due_us in list(self._due_us.items()) if due_us <= now_us]

    def next_due_us(self) -> int | None:
        """Return when the next group has waited long enough, or None if none waits."""
        return min(self._due_us.values(), default=None)

    def __len__(self) -> int:
        return self._count

    def _take(self, kind: Kind) -> list[TaskTerms]:
        tasks = self._waiting.pop(kind)
        del self._due_us[kind]
        self._count -= len(tasks)
        return self._leave(kind, tasks)

    def _leave(self, kind: Kind, tasks: list[TaskTerms]) -> list[TaskTerms]:
        self._under_way[kind] += 1
        return tasks
