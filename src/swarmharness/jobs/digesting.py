"""The digests of a task's inputs and outputs, in a thread when they are large; it decides nothing.

SHA-256 of a mebibyte takes over a millisecond, in which nobody else would be served; in a thread it holds no lock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from swarmharness.jobs.messages import Output, Proposal, input_digest, output_digest

LARGE_BYTES = 1024 * 1024


async def digest_of_inputs(proposal: Proposal) -> bytes:
    """Return the salted digest of a proposal's items and parameters."""

    def digest() -> bytes:
        return input_digest(proposal.salt, proposal.items, proposal.parameters)

    return await _digested(digest, sum(map(len, proposal.items)))


async def digest_of_outputs(proposal: Proposal, outputs: Sequence[Output]) -> bytes:
    """Return the digest of outputs, salted as their proposal is."""

    def digest() -> bytes:
        return output_digest(proposal.salt, outputs)

    return await _digested(digest, sum(len(output.data) for output in outputs))


async def _digested(digest: Callable[[], bytes], size: int) -> bytes:
    return digest() if size < LARGE_BYTES else await trio.to_thread.run_sync(digest)
