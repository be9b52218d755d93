"""The messages of one task between requester and worker, and the digests that bind them; pure.

The same messages travel for every task, so a worker cannot tell whether its answer will be compared with others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from swarmharness.credit.receipt import Epoch, TaskId, salted_digest
from swarmharness.protocol.codec import Count, Digest, Size

ITEMS_PER_TASK_MAX = 4096
PAYLOAD_BYTES_MAX = 2**31 - 1
"""The codec's own ceiling for one item; the transport's configured maximum is far lower."""

Blob = Annotated[bytes, Size(PAYLOAD_BYTES_MAX)]

_TAG_COMMITMENT = b"swarmharness/commitment/1"


@dataclass(frozen=True, slots=True)
class Proposal:
    """PROPOSAL: run these items for this price."""

    task_id: TaskId
    skill: Annotated[str, Size(64, 1)]
    model_digest: Digest
    price_microcredits: Count
    salt: Digest
    """Salts the digests of inputs and outputs, so that nobody who sees a receipt can confirm a guess."""
    items: Annotated[tuple[Blob, ...], Size(ITEMS_PER_TASK_MAX, 1)]


@dataclass(frozen=True, slots=True)
class Commitment:
    """ACCEPT and COMMIT: the worker took the task, ran it, and binds itself to an answer not yet shown."""

    task_id: TaskId
    epoch: Epoch
    """The worker's hour, which dates the receipt."""
    commitment: Digest
    service_us: Count
    queued_items: Count
    """Items of this skill that wait at the worker now: load information that costs no message."""


@dataclass(frozen=True, slots=True)
class RevealRequest:
    """Asks for the answer behind a commitment."""

    task_id: TaskId


@dataclass(frozen=True, slots=True)
class Output:
    """One item's output, or the reason why that item cannot have one."""

    data: Blob
    error: Annotated[str, Size(1024)]


@dataclass(frozen=True, slots=True)
class Reveal:
    """REVEAL: the answer, and the nonce that opens the commitment."""

    task_id: TaskId
    nonce: Digest
    outputs: Annotated[tuple[Output, ...], Size(ITEMS_PER_TASK_MAX, 1)]


def output_digest(salt: bytes, outputs: Iterable[Output]) -> bytes:
    """Return the salted digest of outputs, each with its error."""
    return salted_digest(salt, [part for output in outputs for part in (output.data, output.error.encode())])


def commitment_of(task_id: bytes, worker: str, nonce: bytes, outputs_digest: bytes) -> bytes:
    """Return H(tag ‖ task ‖ worker ‖ nonce ‖ result): it hides the result, and no other worker can reuse it."""
    parts = (task_id, worker.encode(), nonce, outputs_digest)
    return hashlib.sha256(_TAG_COMMITMENT + b"".join([len(part).to_bytes(8, "big") + part for part in parts])).digest()
