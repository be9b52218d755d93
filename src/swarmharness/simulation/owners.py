"""What an owner who watches earnings offers: a busy node drops what pays least for its time; pure.

No service does this: which skills a node serves is its owner's decision, and this is one that is easily made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

BUSY_PERMILLE = 700
IDLE_PERMILLE = 500
"""Whoever has half of its time unsold takes work back; at 350 a skill may have too few while nodes have time."""


def offered_next(now: Collection[str], pays: Mapping[str, int], busy_permille: Mapping[str, int]) -> tuple[str, ...]:
    """Return the skills to offer from now on, of all that it could: one less after more than enough work.

    `pays` is what a second of work in each brought; the skill that brings most is never dropped. `busy_permille` is the
    part of its time that went into each. What pays least is dropped if the rest alone keeps it from being idle: work
    that nothing would replace is income too, and owners who drop whatever they have much of leave a swarm with a skill
    that too few offer while nodes have time.
    """
    best_first = sorted(pays, key=lambda skill: (-pays[skill], skill))
    offered = [skill for skill in best_first if skill in now]
    busy, left = sum(busy_permille.values()), sum(busy_permille.get(skill, 0) for skill in offered[:-1])
    if busy > BUSY_PERMILLE and left > IDLE_PERMILLE:
        return tuple(offered[:-1])
    if busy < IDLE_PERMILLE:
        return tuple([*offered, *(skill for skill in best_first if skill not in now)][: len(offered) + 1])
    return tuple(offered)
