"""Receipts: what they say, the bytes that are signed, what makes one valid; pure, it never reads a clock or disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from swarmharness.identity import Signer, verify
from swarmharness.protocol.codec import Count, Digest, PeerText, Range, Remembering, Signature, Size, signable

EPOCH_US = 3_600 * 1_000_000
"""One epoch is an hour of Unix time."""
EPOCH_SKEW_MAX = 1
"""How many epochs two honest clocks may differ by."""
SETTLEMENT_TASKS_MAX = 20
TASK_ID_BYTES = 16
AMOUNT_MICROCREDITS_MAX = 2**40
"""The most one receipt can move, about 13 days of a reference core; millions of them still add up within 64 bits."""
SALT_BYTES = 32
ZERO_DIGEST = bytes(32)
"""The previous hash of the first half of a chain, and the game digest of a task that one worker did alone."""

_HALF_DOMAIN = "swarmharness/credit/half"
_BODY_DOMAIN = "swarmharness/credit/body"
_SALTED_DOMAIN = b"swarmharness/credit/salted\x00"
_JOINT_DOMAIN = b"swarmharness/credit/joint\x00"

TaskId = Annotated[bytes, Size(TASK_ID_BYTES, TASK_ID_BYTES)]
Amount = Annotated[int, Range(0, AMOUNT_MICROCREDITS_MAX)]
Epoch = Annotated[int, Range(0, 2**32)]


@dataclass(frozen=True, slots=True)
class ReceiptBody(Remembering):
    """What both parties sign: which tasks were done by whom for whom, and how much that moves.

    `share_microcredits` moves from the requester to the worker; `price_microcredits` is the price of the whole game
    (several workers), so the share is at most the price. Digests of several tasks are joint, see `joint_digest`.
    """

    tasks: Annotated[tuple[TaskId, ...], Size(SETTLEMENT_TASKS_MAX, 1)]
    requester: PeerText
    worker: PeerText
    epoch: Epoch
    """The worker's hour, see `epoch_of`."""
    price_microcredits: Amount
    share_microcredits: Amount
    game_digest: Digest
    model_digest: Digest
    input_digest: Digest
    output_digest: Digest
    skill: Annotated[str, Size(64, 1)]
    items: Annotated[int, Range(1, 2**32)]
    service_us: Count

    def __hash__(self) -> int:
        return hash(body_digest(self))  # which is worked out once; and whoever chooses the fields cannot choose it


@dataclass(frozen=True, slots=True)
class HalfContent(Remembering):
    """The signed part of a half-entry: one link of its signer's chain."""

    body_digest: Digest
    signer: PeerText
    incarnation: Count
    number: Count
    previous: Digest


@dataclass(frozen=True, slots=True)
class Half:
    """One party's signature of a body, as the numbered entry of its own chain."""

    content: HalfContent
    signature: Signature


@dataclass(frozen=True, slots=True)
class Receipt(Remembering):
    """A body with both halves: only this counts (S-2)."""

    body: ReceiptBody
    requester_half: Half
    worker_half: Half


class Problem(StrEnum):
    """Why a receipt or a half is not believed; the names are also the names of counters."""

    SAME_PARTY = "requester and worker are the same peer"
    SHARE_ABOVE_PRICE = "the share is above the price"
    AMOUNT_OUT_OF_RANGE = "an amount is negative or above the maximum"
    REPEATED_TASK = "a task is named twice"
    WRONG_EPOCH = "the epoch is too far from this node's clock (compare the clocks of both machines)"
    WRONG_BODY = "the half signs another body"
    WRONG_SIGNER = "the half is signed by neither expected party"
    WRONG_SIGNATURE = "the signature does not verify"
    UNKNOWN_TASK = "a task is not among those that this worker answered for this requester and has not settled"
    OTHER_TERMS = "the terms are not those of the tasks that this worker answered"
    WRONG_GAME = "the game does not give the worker this share"
    WRONG_OPENING = "the first half of a chain names a predecessor, or a later half names none"


def epoch_of(unix_us: int) -> int:
    """Return the number of whole hours since 1970 UTC."""
    return max(0, unix_us) // EPOCH_US


def body_digest(body: ReceiptBody) -> bytes:
    """Return the digest by which a receipt is known everywhere."""
    return body.derived(_digest_of)


def link_digest(content: HalfContent) -> bytes:
    """Return what the next half of the chain names as its predecessor; signatures are left out on purpose."""
    return hashlib.sha256(_signed_bytes(content)).digest()


def salted_digest(salt: bytes, parts: Iterable[bytes]) -> bytes:
    """Return a digest of `parts` in order that tells nothing to whoever does not know the 32-byte `salt`."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    digest = hashlib.sha256(_SALTED_DOMAIN + salt)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def joint_digest(digests: Iterable[bytes]) -> bytes:
    """Return the one digest that a settlement names for its tasks' digests, in their order; of one task, its own."""
    several = tuple(digests)
    if len(several) == 1:
        return several[0]
    return hashlib.sha256(_JOINT_DOMAIN + b"".join(several)).digest()


def sign_half(signer: Signer, digest: bytes, *, incarnation: int, number: int, previous: bytes) -> Half:
    """Return `signer`'s half over the body with this digest, at this place of its chain."""
    content = HalfContent(digest, signer.peer_id, incarnation, number, previous)
    return Half(content, signer.sign(_signed_bytes(content)))


def body_problem(body: ReceiptBody) -> Problem | None:
    """Return why the statement itself is impossible, whoever signed it, or None."""
    if body.requester == body.worker:
        return Problem.SAME_PARTY
    price, share = body.price_microcredits, body.share_microcredits
    if min(price, share) < 0 or max(price, share) > AMOUNT_MICROCREDITS_MAX:
        return Problem.AMOUNT_OUT_OF_RANGE
    if share > price:
        return Problem.SHARE_ABOVE_PRICE
    if len(body.tasks) > 1 and len(set(body.tasks)) != len(body.tasks):
        return Problem.REPEATED_TASK
    return None


def epoch_problem(body: ReceiptBody, *, oldest: int, newest: int) -> Problem | None:
    """Return a problem unless the epoch lies within the skew of [oldest, newest], which are the reader's own epochs."""
    if oldest - EPOCH_SKEW_MAX <= body.epoch <= newest + EPOCH_SKEW_MAX:
        return None
    return Problem.WRONG_EPOCH


def half_problem(half: Half, digest: bytes, signer: str) -> Problem | None:
    """Return why `half` is not `signer`'s valid half over the body with this digest, or None; cheap checks first."""
    content = half.content
    if content.body_digest != digest:
        return Problem.WRONG_BODY
    if content.signer != signer:
        return Problem.WRONG_SIGNER
    if (content.number == 0) != (content.previous == ZERO_DIGEST):
        return Problem.WRONG_OPENING
    if not verify(signer, _signed_bytes(content), half.signature):
        return Problem.WRONG_SIGNATURE
    return None


def receipt_problem(receipt: Receipt) -> Problem | None:
    """Return why a receipt does not count, or None (S-2)."""
    body = receipt.body
    digest = body_digest(body)
    return (
        body_problem(body)
        or half_problem(receipt.requester_half, digest, body.requester)
        or half_problem(receipt.worker_half, digest, body.worker)
    )


def _signed_bytes(content: HalfContent) -> bytes:
    return content.derived(_signable_half)


def _digest_of(body: ReceiptBody) -> bytes:
    return hashlib.sha256(signable(_BODY_DOMAIN, body)).digest()


def _signable_half(content: HalfContent) -> bytes:
    return signable(_HALF_DOMAIN, content)
