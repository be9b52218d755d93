"""The file of `credit export`: its blocks, and what of it may be imported; pure, bytes come in and go out by arguments.

    magic | block … | end          block: u8 kind | u32 length | MessagePack

The first block is a header, the last one the SHA-256 of everything before it. Nothing is believed before the whole file
has been read and its digest compared; the digest tells damage, the signatures in the entries tell the rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from itertools import islice
from typing import Annotated, TypeVar

from swarmharness.credit.accounts import Entry
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.receipt import EPOCH_SKEW_MAX, Epoch, Problem, body_digest, body_problem, half_problem
from swarmharness.errors import InputError, ProtocolError
from swarmharness.protocol.codec import Count, Size, decode, encode

MAGIC = b"swarmharness receipts 1\n"
BLOCK_BYTES_MAX = 8 * 2**20
ENTRIES_PER_BLOCK = 256
PROOFS_PER_BLOCK = 256
GAMES_PER_BLOCK = 64
GAME_BYTES_MAX = 4 * 2**20
_GAMES_BYTES = 4 * 2**20 - 1
"""A block of games is closed before it would hold more than this, and one."""
_DIGEST_BYTES = 32

T = TypeVar("T")


class _Kind(IntEnum):
    HEADER = 1
    ENTRIES = 2
    PROOFS = 3
    GAMES = 4
    END = 255


@dataclass(frozen=True, slots=True)
class Header:
    """Whose store was exported, when, and from which epoch on."""

    owner: Annotated[str, Size(64)]
    exported_us: Count
    oldest_epoch: Epoch


@dataclass(frozen=True, slots=True)
class Entries:
    """Some entries."""

    entries: Annotated[tuple[Entry, ...], Size(ENTRIES_PER_BLOCK)]


@dataclass(frozen=True, slots=True)
class Proofs:
    """Some proofs of forks."""

    proofs: Annotated[tuple[ForkProof, ...], Size(PROOFS_PER_BLOCK)]


@dataclass(frozen=True, slots=True)
class Games:
    """Some games, as canonical JSON; receipts name them by their digest."""

    games: Annotated[tuple[Annotated[bytes, Size(GAME_BYTES_MAX)], ...], Size(GAMES_PER_BLOCK)]


Block = Header | Entries | Proofs | Games

_KINDS: dict[type[Block], _Kind] = {
    Header: _Kind.HEADER,
    Entries: _Kind.ENTRIES,
    Proofs: _Kind.PROOFS,
    Games: _Kind.GAMES,
}
_CLASSES: dict[int, type[Block]] = {kind: cls for cls, kind in _KINDS.items()}


class Refusal(StrEnum):
    """Why an entry of a file is not stored; `receipt.Problem` has the other reasons."""

    NO_HALF = "nobody signed it"
    HALF_OF_OTHERS = "a half-entry between others is worth nothing"
    EXPIRED = "it is older than the horizon, and between others"
    FUTURE = "its epoch lies in the future (compare the clocks of both machines)"
    NO_GAME = "a game that cannot be read"
    OWN_CHAIN = "it continues this node's own chain: stop the node to import it"


def refusal(entry: Entry, owner: str, now_epoch: int, horizon_epochs: int = HORIZON_EPOCHS) -> Refusal | Problem | None:
    """Return why `owner` does not store an entry from a file, or None; cheap checks first, signatures last."""
    body, halves = entry.body, (entry.requester_half, entry.worker_half)
    own = owner in (body.requester, body.worker)
    if halves == (None, None):
        return Refusal.NO_HALF
    if None in halves and not own:
        return Refusal.HALF_OF_OTHERS
    if body.epoch > now_epoch + EPOCH_SKEW_MAX:
        return Refusal.FUTURE
    if now_epoch - body.epoch >= horizon_epochs and not own:
        return Refusal.EXPIRED
    digest = body_digest(body)
    signed = zip(halves, (body.requester, body.worker), strict=True)
    problems = (half_problem(half, digest, signer) for half, signer in signed if half is not None)
    return body_problem(body) or next((problem for problem in problems if problem is not None), None)


def archive(
    header: Header, entries: Iterable[Entry], proofs: Iterable[ForkProof], games: Iterable[bytes]
) -> Iterator[bytes]:
    """Yield the bytes of a file, piece by piece."""
    digest = hashlib.sha256()
    for piece in _pieces(header, entries, proofs, games):
        digest.update(piece)
        yield piece
    yield _block(_Kind.END, digest.digest())


def read_archive(read: Callable[[int], bytes]) -> Iterator[Block]:
    """Yield the blocks of a file, of which `read(n)` returns the next n bytes, fewer only at its end.

    Raises InputError for a file that is no archive, is of another version, damaged or cut short; the caller must not
    act on what was yielded before this generator has ended.
    """
    digest = hashlib.sha256()
    magic = read(len(MAGIC))
    if magic != MAGIC:
        if magic.startswith(MAGIC[:-2]):
            raise InputError("the file was exported by a newer SwarmHarness: update this one")
        raise InputError("the file is no export of receipts (see `swarmharness credit export`)")
    digest.update(magic)
    first = True
    while True:
        beginning = _exactly(read, 5)
        kind, size = beginning[0], int.from_bytes(beginning[1:], "big")
        if size > (_DIGEST_BYTES if kind == _Kind.END else BLOCK_BYTES_MAX):
            raise InputError(f"the file is damaged: a block of {size} bytes, at most {BLOCK_BYTES_MAX} are read")
        content = _exactly(read, size)
        if kind == _Kind.END:
            break
        digest.update(beginning)
        digest.update(content)
        yield _read_block(kind, content, first)
        first = False
    if content != digest.digest():
        raise InputError("the file is damaged: its digest is that of other content; nothing of it was stored")
    if read(1):
        raise InputError("the file is damaged: something follows its end; nothing of it was stored")


def _read_block(kind: int, content: bytes, first: bool) -> Block:
    cls = _CLASSES.get(kind)
    if cls is None or (cls is Header) != first:
        raise InputError(f"the file is damaged: a block of kind {kind} where none can be")
    try:
        return decode(cls, content)
    except ProtocolError as error:
        raise InputError(f"the file is damaged: {error}") from None


def _pieces(
    header: Header, entries: Iterable[Entry], proofs: Iterable[ForkProof], games: Iterable[bytes]
) -> Iterator[bytes]:
    yield MAGIC
    yield _encoded(header)
    for some in _slices(entries, ENTRIES_PER_BLOCK):
        yield _encoded(Entries(some))
    for proven in _slices(proofs, PROOFS_PER_BLOCK):
        yield _encoded(Proofs(proven))
    for texts in _slices_of_games(games):
        yield _encoded(Games(texts))


def _encoded(block: Block) -> bytes:
    return _block(_KINDS[type(block)], encode(block))


def _block(kind: _Kind, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(4, "big") + content


def _slices(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    left = iter(items)
    while some := tuple(islice(left, size)):
        yield some


def _slices_of_games(games: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    some: list[bytes] = []
    for game in games:
        if some and (len(some) == GAMES_PER_BLOCK or sum(map(len, some)) + len(game) > _GAMES_BYTES):
            yield tuple(some)
            some = []
        some.append(game)
    if some:
        yield tuple(some)


def _exactly(read: Callable[[int], bytes], size: int) -> bytes:
    data = read(size)
    if len(data) != size:
        raise InputError("the file is cut short; nothing of it was stored")
    return data
