"""When an answer is checked, and by how many: the rates of docs/verification.md; pure, the coin is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PROVEN_TASKS = 10
"""Until so many answers in a row were valid, every answer of a peer is checked before anybody gets it."""
BATCH_TASKS_MAX = 20
"""So many tasks stay unsettled at most, until one of them has been checked; a proven peer's rate is 1 in so many."""
COIN = 1_000_000
"""A draw is a uniform integer below this."""


class Mode(StrEnum):
    """How much is believed."""

    NONE = "none"
    """Everything."""
    ADAPTIVE = "adaptive"
    """Much of a peer that was right so far, nothing of a new one; unchecked where nobody can check."""
    ALWAYS = "always"
    """Nothing that no second peer confirmed."""


@dataclass(frozen=True, slots=True)
class VerificationSettings:
    """What an operator can tune about checks."""

    mode: Mode = Mode.NONE
    """What a job gets that does not say what it wants."""
    replicas: int = 2
    """How many answers must agree, likewise."""
    tolerance: float = 1e-3
    """How far two tensors may lie apart, relative to their largest element; see `comparison`."""
    patience_s: float = 10.0
    """A batch that does not fill up is settled after so long."""
    shun_s: float = 600.0
    """How long a peer gets no task of a skill after its first wrong answer; four times as long after each further."""
    spot_checks: bool = True
    """Whether items with known answers are mixed into other peers' tasks."""


def batch_tasks(valid_in_a_row: int) -> int:
    """Return how many answers are checked by one: 1 for a peer that is not proven yet, then up to 20."""
    return 1 if valid_in_a_row < PROVEN_TASKS else min(valid_in_a_row, BATCH_TASKS_MAX)


def must_check(valid_in_a_row: int, draw: int, *, tasks: int = 1) -> bool:
    """Tell whether one of `tasks` answers is checked, by a draw below `COIN`.

    The rate is that of BOINC's adaptive replication, for each answer: always until 10 in a row were valid, then
    max(1 / valid_in_a_row, 0.05). A full batch is always checked, a part of one as likely as its answers together.
    """
    return draw * batch_tasks(valid_in_a_row) < tasks * COIN


def answers_max(replicas: int) -> int:
    """Return how many answers are compared before the nodes are said to disagree."""
    return 2 * replicas + 1
