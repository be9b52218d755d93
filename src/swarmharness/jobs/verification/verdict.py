"""Who was right: judges the answers of several peers to one task by which of them agree; pure.

A group is an answer and all that agree with it. The largest group is believed when it has the quorum and no other group
is as large; so two that agree win against a third, and two against two need another opinion. The node's own answer is
beyond doubt. Agreement within a tolerance is not transitive, so groups may overlap; then the first largest counts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What follows from the answers so far."""

    AGREED = "agreed"
    MORE = "more"
    """Another answer is needed."""
    UNDECIDED = "undecided"
    """There are as many answers as may be asked for, and none is believed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Positions in the list of answers."""

    outcome: Outcome
    right: tuple[int, ...] = ()
    wrong: tuple[int, ...] = ()
    missing: int = 0
    """How many further answers could settle it, at the least."""


def judge(
    answers: int, agreeing: Collection[tuple[int, int]], *, quorum: int, most: int, certain: int | None = None
) -> Verdict:
    """Return the verdict on so many answers; `agreeing` holds pairs of positions, in any order.

    `certain` is the position of the node's own answer, if it is among them. `most` answers are the last word.
    """
    groups = [
        tuple(j for j in range(answers) if j == i or (i, j) in agreeing or (j, i) in agreeing) for i in range(answers)
    ]
    if certain is not None:
        return _agreed(groups[certain], answers)
    best = max(groups, key=len, default=())
    rivals = [group for group in groups if len(group) == len(best) and not set(group) & set(best)]
    if len(best) >= quorum and not rivals:
        return _agreed(best, answers)
    if answers >= most:
        return Verdict(Outcome.UNDECIDED)
    return Verdict(Outcome.MORE, missing=max(1, min(quorum - len(best), most - answers)))


def _agreed(right: tuple[int, ...], answers: int) -> Verdict:
    return Verdict(Outcome.AGREED, right, tuple(i for i in range(answers) if i not in right))
