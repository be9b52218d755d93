"""A client that makes its request as one task, tried a few times; jobs do more, and this shows the router alone."""

from __future__ import annotations

import trio

from swarmharness.errors import DeadlineError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobContext
from swarmharness.jobs.journal import ItemResult
from swarmharness.jobs.requester import TaskAnswer
from swarmharness.node.parts import NodeParts
from swarmharness.routing.router import Choice

AGAIN_AFTER_S = 0.1


async def ask(
    parts: NodeParts, skill: str, items: list[bytes], *, deadline_s: float, attempts: int, pays: bool
) -> list[ItemResult]:
    """Return the items' results, or raise why there are none.

    A peer gets the deadline's share of one attempt; the last attempt gets what is left. What ends early, because the
    peer is gone, leaves its time to the next.
    """
    runner, tried, model_digest = parts.hedged(JobContext()), frozenset[PeerId](), b""
    ends_s = trio.current_time() + deadline_s
    failure: SwarmError = DeadlineError(f"no answer within {deadline_s:g} s")
    while attempts and trio.current_time() < ends_s:
        choices: tuple[Choice, ...] = ()
        with trio.CancelScope(deadline=ends_s):  # while nobody is known, the router searches, for seconds
            try:
                choices = await parts.router.choose(skill, len(items), exclude=tried, model_digest=model_digest)
            except UnavailableError as error:
                failure = error
        if not choices:
            await trio.sleep(AGAIN_AFTER_S)
            continue
        best, left_s = choices[0], ends_s - trio.current_time()
        model_digest = best.skill.model_digest
        timeout_s = left_s if attempts == 1 else min(left_s, deadline_s / attempts)
        attempts -= 1
        try:
            answer = await runner.run(best.peer_id, best.skill, tuple(items), timeout_s=timeout_s)
        except SwarmError as error:
            failure, tried = error, tried | {best.peer_id}
            continue
        if pays:
            parts.settle(answer)
        return _results(answer)
    raise failure


def _results(answer: TaskAnswer) -> list[ItemResult]:
    return [
        ItemResult(index, output.data, output.error, None, answer.peer_id, answer.service_us, answer.receipt)
        for index, output in enumerate(answer.outputs)
    ]
