"""The digests of a task's inputs and outputs, beside the event loop when they are large; it decides nothing.

SHA-256 of a mebibyte takes over a millisecond, in which nobody else would be served; in a thread it holds no lock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from swarmharness.jobs.messages import Output, Proposal, input_digest, output_digest

LARGE_BYTES = 1024 * 1024
Work = Callable[[], bytes]


async def in_a_thread(work: Work) -> bytes:
    """Work something out in a thread."""
    return await trio.to_thread.run_sync(work)


async def at_once(work: Work) -> bytes:
    """Work something out here: for simulations, whose time does not wait for threads."""
    return work()


class Digests:
    """Works digests out, large ones by `beside`."""

    def __init__(self, beside: Callable[[Work], Awaitable[bytes]] = in_a_thread) -> None:
        self._beside = beside

    async def of_inputs(self, proposal: Proposal) -> bytes:
        """Return the salted digest of a proposal's items and parameters."""
        return await self._digest(
            lambda: input_digest(proposal.salt, proposal.items, proposal.parameters), sum(map(len, proposal.items))
        )

    async def of_outputs(self, proposal: Proposal, outputs: Sequence[Output]) -> bytes:
        """Return the digest of outputs, salted as their proposal is."""
        size = sum(len(output.data) for output in outputs)
        return await self._digest(lambda: output_digest(proposal.salt, outputs), size)

    async def _digest(self, work: Work, size: int) -> bytes:
        return work() if size < LARGE_BYTES else await self._beside(work)
