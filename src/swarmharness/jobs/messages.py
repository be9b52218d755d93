"""The messages of one task between requester and worker, and the digests that bind them; pure.

The same messages travel for every task, so a worker cannot tell whether its answer will be compared with others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from swarmharness.credit.receipt import Epoch, TaskId, salted_digest
from swarmharness.execution.parameters import PARAMETERS_BYTES_MAX
from swarmharness.protocol.codec import Added, Count, Digest, Range, Size
from swarmharness.protocol.method import Method

ITEMS_PER_TASK_MAX = 4096
PAYLOAD_BYTES_MAX = 2**31 - 1
"""The codec's own ceiling for one item; the transport's configured maximum is far lower."""

Blob = Annotated[bytes, Size(PAYLOAD_BYTES_MAX)]

FLAGS_MAX = 2**32 - 1

_TAG_COMMITMENT = b"swarmharness/commitment/1"
_TAG_PARAMETERS = b"swarmharness/parameters/1"
_TAG_FLAGS = b"swarmharness/flags/1"
_FLAGS_BYTES = 4


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
    parameters: Annotated[bytes, Size(PARAMETERS_BYTES_MAX), Added()] = b""
    """How to run them, see `execution.parameters`. Only sent to peers that advertise each of their names."""


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
    flags: Annotated[int, Range(0, FLAGS_MAX), Added()] = 0
    """A set of bits; of those that nobody has defined yet, nothing is to be concluded."""


@dataclass(frozen=True, slots=True)
class Reveal:
    """REVEAL: the answer, and the nonce that opens the commitment."""

    task_id: TaskId
    nonce: Digest
    outputs: Annotated[tuple[Output, ...], Size(ITEMS_PER_TASK_MAX, 1)]


METHOD_RUN = Method("task.run", Proposal, Commitment)
METHOD_REVEAL = Method("task.reveal", RevealRequest, Reveal)


def input_digest(salt: bytes, items: Iterable[bytes], parameters: bytes = b"") -> bytes:
    """Return the salted digest of a task's items, and of its parameters if it has any."""
    digest = salted_digest(salt, items)
    return _tagged(_TAG_PARAMETERS, (salt, digest, parameters)) if parameters else digest


def output_digest(salt: bytes, outputs: Sequence[Output]) -> bytes:
    """Return the salted digest of outputs, each with its error, and of their flags if any has one."""
    digest = salted_digest(salt, [part for output in outputs for part in (output.data, output.error.encode())])
    if not any(output.flags for output in outputs):
        return digest
    flags = b"".join([output.flags.to_bytes(_FLAGS_BYTES, "big") for output in outputs])
    return _tagged(_TAG_FLAGS, (salt, digest, flags))


def commitment_of(task_id: bytes, worker: str, nonce: bytes, outputs_digest: bytes) -> bytes:
    """Return H(tag ‖ task ‖ worker ‖ nonce ‖ result): it hides the result, and no other worker can reuse it."""
    return _tagged(_TAG_COMMITMENT, (task_id, worker.encode(), nonce, outputs_digest))


def _tagged(tag: bytes, parts: Iterable[bytes]) -> bytes:
    """Return SHA-256 of a tag and some parts, each behind its length: other parts, or another tag, are other bytes."""
    return hashlib.sha256(tag + b"".join([len(part).to_bytes(8, "big") + part for part in parts])).digest()
