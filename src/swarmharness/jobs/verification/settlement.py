"""The game of a checked batch: who is paid what for which answers, as one batch game (C-27); pure.

The price of a task that R replicas answered alike is the agreed price times R, and each gets the agreed price. All of
them are its quorum: nobody is asked whose answer was not needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from swarmharness.credit.attribution.games import BatchGame, Chunk
from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX
from swarmharness.credit.terms import TaskTerms


def checked_game(tasks: Sequence[TaskTerms], checked: TaskTerms, matching: Sequence[TaskTerms]) -> BatchGame | None:
    """Return the game of one worker's `tasks`, of which `checked` was answered alike by the `matching` others.

    None if it cannot be one game: the replicas agreed on other prices, or it moves more than a receipt can say. They
    are settled one by one then.
    """
    if any(other.share_microcredits != checked.share_microcredits for other in matching):
        return None
    workers = tuple(sorted({checked.worker, *(other.worker for other in matching)}))
    if len(workers) != len(matching) + 1:
        return None
    chunks = [
        Chunk(task.share_microcredits * len(workers), len(workers), workers)
        if task.task == checked.task
        else Chunk(task.share_microcredits, 1, (task.worker,))
        for task in tasks
    ]
    price = sum(chunk.price for chunk in chunks)
    return BatchGame(price, tuple(chunks)) if price <= AMOUNT_MICROCREDITS_MAX else None
