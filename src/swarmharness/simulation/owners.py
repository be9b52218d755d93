"""What an owner who watches earnings offers: a busy node drops what pays least for its time; pure.

No service does this: which skills a node serves is its owner's decision, and this is one that is easily made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

BUSY_PERMILLE = 700
IDLE_PERMILLE = 350


def offered_next(now: Collection[str], pays: Mapping[str, int], busy_permille: int) -> tuple[str, ...]:
    """Return the skills to offer from now on, of all that it could: one less after more than enough work.

    `pays` is what a second of work in each brought; the skill that brings most is never dropped.
    """
    best_first = sorted(pays, key=lambda skill: (-pays[skill], skill))
    offered = [skill for skill in best_first if skill in now]
    if busy_permille > BUSY_PERMILLE and len(offered) > 1:
        return tuple(offered[:-1])
    if busy_permille < IDLE_PERMILLE:
        return tuple([*offered, *(skill for skill in best_first if skill not in now)][: len(offered) + 1])
    return tuple(offered)
