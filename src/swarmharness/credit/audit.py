"""Judges a whole store, entry by entry and half by half: what is wrong with which receipt; pure, it reads no file."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from swarmharness.credit.attribution.attribute import Attribution, attribute
from swarmharness.credit.attribution.game_file import read_game
from swarmharness.credit.chain import is_successor
from swarmharness.credit.forks import ForkProof, proof_problem
from swarmharness.credit.game_check import single_game_text
from swarmharness.credit.receipt import (
    ZERO_DIGEST,
    Half,
    ReceiptBody,
    body_digest,
    body_problem,
    half_problem,
    link_digest,
)
from swarmharness.errors import ProtocolError, SwarmError
from swarmharness.protocol.codec import INT64_MAX, decode

FINDINGS_KEPT = 1_000
"""So many are listed; all are counted."""
_GAMES_REMEMBERED = 256

GameOf = Callable[[bytes], bytes | None]
"""Returns the canonical JSON of the game with this digest, or None where it is not known."""


class Kind(StrEnum):
    """What an audit finds. A gap is no fault of anyone's: its receipts may be on their way, or none of our business."""

    UNREADABLE = "unreadable"
    WRONG_DIGEST = "wrong-digest"
    WRONG_COLUMN = "wrong-column"
    IMPOSSIBLE = "impossible"
    INVALID_HALF = "invalid-half"
    WRONG_STATE = "wrong-state"
    STRAY_HALF = "stray-half"
    BROKEN_LINK = "broken-link"
    FORK = "fork"
    INVALID_PROOF = "invalid-proof"
    WRONG_SHARE = "wrong-share"
    WRONG_BOOKS = "wrong-books"
    GAP = "gap"

    @property
    def is_problem(self) -> bool:
        """Whether a store in which this is found is not clean."""
        return self is not Kind.GAP


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found, and where."""

    kind: Kind
    receipt: str
    """The hex digest of the receipt, or empty if it concerns none."""
    peer_id: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return one element of the output of `credit audit --json`."""
        return {"kind": self.kind.value, "receipt": self.receipt, "peer_id": self.peer_id, "text": self.text}


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry as it lies in the store: what is filed about a body, its bytes, and every half over it."""

    digest: bytes
    requester: str
    worker: str
    epoch: int
    share_microcredits: int
    complete: bool
    body: bytes
    stored_us: int
    halves: tuple[Half, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """What an entry is worth: `counts` if both halves verify over its body (S-2)."""

    body: ReceiptBody | None
    counts: bool
    findings: tuple[Finding, ...]


def judge_entry(stored: StoredEntry) -> Judged:
    """Check an entry alone: that its body can be read, is possible, and is what its halves and columns say."""
    name = stored.digest.hex()

    def found(kind: Kind, text: str, peer_id: str = "") -> Judged:
        return Judged(None, False, (Finding(kind, name, peer_id, text),))

    try:
        body = decode(ReceiptBody, stored.body)
    except ProtocolError as error:
        return found(Kind.UNREADABLE, f"its body cannot be read: {error}")
    digest = body_digest(body)
    if digest != stored.digest:
        return found(Kind.WRONG_DIGEST, f"its body is that of receipt {digest.hex()}")
    findings = []
    for column in ("requester", "worker", "epoch", "share_microcredits"):
        filed, said = getattr(stored, column), getattr(body, column)
        if filed != said:
            findings.append(Finding(Kind.WRONG_COLUMN, name, "", f"the store files it under {column} {filed!r}"))
    problem = body_problem(body)
    if problem is not None:
        findings.append(Finding(Kind.IMPOSSIBLE, name, body.requester, str(problem)))
    signers = set()
    for half in stored.halves:
        wrong = _half_problem(half, digest, (body.requester, body.worker))
        if wrong is None:
            signers.add(half.content.signer)
        else:
            findings.append(Finding(Kind.INVALID_HALF, name, str(half.content.signer), wrong))
    both = len(signers) == 2
    if both != stored.complete:
        kept = "a receipt" if stored.complete else "a half-entry"
        findings.append(Finding(Kind.WRONG_STATE, name, "", f"{len(signers)} halves verify, but it is kept as {kept}"))
    return Judged(body, both and problem is None, tuple(findings))


@dataclass(slots=True)
class Chains:
    """Follows every chain through its halves, which come sorted by signer, incarnation and number."""

    chains: int = 0
    _last: Half | None = None
    _place: list[Half] = field(default_factory=list)
    _before: list[Half] = field(default_factory=list)

    def follow(self, half: Half) -> Iterator[Finding]:
        """Take the next half; yield what is wrong between it and the ones before it."""
        content = half.content
        place = (content.signer, content.incarnation, content.number)
        last = self._last
        if last is None or (last.content.signer, last.content.incarnation) != place[:2]:
            self.chains += 1
            self._place, self._before = [half], []
            if content.number > 0:
                yield _gap(half, content.number)
        elif last.content.number == content.number:
            first = self._place[0]
            if first.content != content:
                yield from (_fork(one, other) for one, other in ((first, half), (half, first)))
                self._place.append(half)
        else:
            leapt = any(link_digest(before.content) == content.previous for before in self._place)
            missing = 0 if leapt else content.number - last.content.number - 1
            self._before = [] if missing or leapt else self._place
            self._place = [half]
            if missing:
                yield _gap(half, missing)
        if self._before and not any(is_successor(before, half) for before in self._before):
            text = f"it does not name the half number {content.number - 1} of its chain as its predecessor"
            yield Finding(Kind.BROKEN_LINK, content.body_digest.hex(), content.signer, text)
        self._last = half


@dataclass(slots=True)
class EpochBooks:
    """Adds up what the store counts and what is proved, epoch by epoch; entries come sorted by epoch (C-5)."""

    epoch: int = -1
    epochs: int = 0
    _counted: Counter[str] = field(default_factory=Counter)
    _proved: Counter[str] = field(default_factory=Counter)

    def add(self, stored: StoredEntry, judged: Judged) -> Iterator[Finding]:
        """Take an entry; yield what was wrong with the epoch before, if this begins another one."""
        if stored.epoch != self.epoch:
            yield from self.close()
            self.epoch = stored.epoch
            self.epochs += 1
        if stored.complete:
            _move(self._counted, stored.requester, stored.worker, stored.share_microcredits)
        if judged.counts and judged.body is not None:
            body = judged.body
            _move(self._proved, body.requester, body.worker, body.share_microcredits)

    def close(self) -> Iterator[Finding]:
        """Yield what is wrong with the last epoch."""
        for name, sums in (("counted", self._counted), ("proved", self._proved)):
            total = sum(sums.values())
            if total:
                text = f"in epoch {self.epoch} what is {name} adds up to {total} micro-credits instead of zero"
                yield Finding(Kind.WRONG_BOOKS, "", "", text)
        for peer in sorted(self._counted.keys() | self._proved.keys()):
            counted, proved = self._counted[peer], self._proved[peer]
            if counted != proved:
                text = f"in epoch {self.epoch} the store counts {counted} micro-credits, its receipts prove {proved}"
                yield Finding(Kind.WRONG_BOOKS, "", peer, text)
        self._counted.clear()
        self._proved.clear()


@dataclass(slots=True)
class Games:
    """Recomputes the shares of receipts whose game is known (C-3); remembers a few games, most belong together."""

    game_of: GameOf
    known: int = 0
    unknown: int = 0
    _made: OrderedDict[bytes, Attribution | str] = field(default_factory=OrderedDict)

    def judge(self, body: ReceiptBody) -> Finding | None:
        """Return what is wrong with the share, or None."""
        if is_sole(body):
            self.known += 1
            wrong = None if body.share_microcredits == body.price_microcredits else "one worker did it, for less"
        else:
            made = self._attribution(body.game_digest)
            if made is None:
                self.unknown += 1
                return None
            self.known += 1
            wrong = made if isinstance(made, str) else share_problem(body, made)
        if wrong is None:
            return None
        return Finding(Kind.WRONG_SHARE, body_digest(body).hex(), body.requester, wrong)

    def _attribution(self, digest: bytes) -> Attribution | str | None:
        if digest not in self._made:
            text = self.game_of(digest)
            if text is None:
                return None
            self._made[digest] = recomputed(digest, text)
            if len(self._made) > _GAMES_REMEMBERED:
                self._made.popitem(last=False)
        return self._made[digest]


def recomputed(digest: bytes, text: bytes) -> Attribution | str:
    """Return the shares of the game in `text`, which should have this digest, or what is wrong with it."""
    try:
        game = read_game(text)
    except SwarmError as error:
        return f"its game cannot be read: {error}"
    if game.digest != digest:
        return f"its game has the digest {game.digest.hex()}"
    try:
        return attribute(game)
    except SwarmError as error:
        return f"its game cannot be recomputed: {error}"


def is_sole(body: ReceiptBody) -> bool:
    """Tell whether a receipt is for one task of one worker: its game follows from it, and is kept nowhere."""
    return body.game_digest == ZERO_DIGEST or single_game_text(body) is not None


def share_problem(body: ReceiptBody, made: Attribution) -> str | None:
    """Return how a receipt differs from its game, or None."""
    price, due = sum(made.shares.values()), made.shares.get(body.worker)
    if price != body.price_microcredits:
        return f"its price is {body.price_microcredits}, that of its game is {price}"
    if due is None:
        return "its worker has no part in its game"
    return None if due == body.share_microcredits else f"its share is {body.share_microcredits}, by its game {due}"


def judge_proof(proof: ForkProof) -> Finding | None:
    """Return what is wrong with a kept proof, or None."""
    problem = proof_problem(proof)
    if problem is None:
        return None
    return Finding(Kind.INVALID_PROOF, proof.one.content.body_digest.hex(), proof.signer, str(problem))


def is_well_formed(half: Half) -> bool:
    """Tell whether a half from a database has fields of the right types and sizes; a database promises neither."""
    content = half.content
    numbers, texts = (content.incarnation, content.number), (content.signer,)
    sizes = ((content.body_digest, 32), (content.previous, 32), (half.signature, 64))
    return (
        all(isinstance(text, str) for text in texts)
        and all(type(number) is int and 0 <= number <= INT64_MAX for number in numbers)
        and all(isinstance(data, bytes) and len(data) == size for data, size in sizes)
    )


def stray_half(half: Half) -> Finding:
    """Say that the body of a half is not there."""
    content = half.content
    return Finding(Kind.STRAY_HALF, content.body_digest.hex(), content.signer, "a half is kept, but not its body")


def forkers(findings: Iterable[Finding]) -> list[str]:
    """Return the peers that signed two histories in this store."""
    return sorted({finding.peer_id for finding in findings if finding.kind is Kind.FORK})


def _half_problem(half: Half, digest: bytes, parties: tuple[str, str]) -> str | None:
    if not is_well_formed(half):
        return "a half is damaged"
    signer = parties[half.content.signer == parties[1]]
    problem = half_problem(half, digest, signer)
    return None if problem is None else str(problem)


def _gap(half: Half, missing: int) -> Finding:
    content = half.content
    text = f"{missing} halves before number {content.number} of its chain are not here"
    return Finding(Kind.GAP, content.body_digest.hex(), content.signer, text)


def _fork(half: Half, other: Half) -> Finding:
    content = half.content
    text = (
        f"signed as number {content.number} of incarnation {content.incarnation}, as is receipt "
        f"{other.content.body_digest.hex()}"
    )
    return Finding(Kind.FORK, content.body_digest.hex(), content.signer, text)


def _move(sums: Counter[str], requester: str, worker: str, microcredits: int) -> None:
    sums[worker] += microcredits
    sums[requester] -= microcredits
