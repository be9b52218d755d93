"""Writes a receipt database, or its newer part, as a file that another store can import; it changes no database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from swarmharness.credit.accounts import Entry
from swarmharness.credit.archive import Header, archive
from swarmharness.credit.audit import StoredEntry, is_well_formed
from swarmharness.credit.receipt import Half, ReceiptBody, body_digest
from swarmharness.credit.sqlite_scan import ReceiptScan
from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import decode


@dataclass(slots=True)
class Exported:
    """What went into the file."""

    entries: int = 0
    damaged: int = 0
    """Entries that cannot be read, and were left out."""
    proofs: int = 0
    games: int = 0


def export(
    database: Path,
    write: Callable[[bytes], object],
    *,
    now_us: int,
    oldest_epoch: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Exported:
    """Write everything from this epoch on, as it is at this moment; signatures are checked by whoever imports it."""
    done = Exported()
    scan = ReceiptScan(database, read_only=True)
    try:
        with scan.snapshot():
            proofs = scan.forks()
            done.proofs = len(proofs)
            header = Header(scan.owner() or "", now_us, oldest_epoch)
            for piece in archive(
                header, _entries(scan, oldest_epoch, done, progress), proofs, _games(scan, oldest_epoch, done)
            ):
                write(piece)
    finally:
        scan.close()
    return done


def _entries(
    scan: ReceiptScan, oldest_epoch: int, done: Exported, progress: Callable[[int, int], None]
) -> Iterator[Entry]:
    total = scan.count(oldest_epoch)
    for some in scan.stored_entries(oldest_epoch):
        for stored in some:
            entry = entry_of(stored)
            if entry is None:
                done.damaged += 1
            else:
                done.entries += 1
                yield entry
        progress(done.entries + done.damaged, total)


def _games(scan: ReceiptScan, oldest_epoch: int, done: Exported) -> Iterator[bytes]:
    for text in scan.game_texts(oldest_epoch):
        done.games += 1
        yield text


def entry_of(stored: StoredEntry) -> Entry | None:
    """Return an entry with each party's earlier half, or None if its body is not what it is filed as."""
    try:
        body = decode(ReceiptBody, stored.body)
    except ProtocolError:
        return None
    if body_digest(body) != stored.digest:
        return None
    return Entry(body, _half(stored, body.requester), _half(stored, body.worker), stored.stored_us)


def _half(stored: StoredEntry, signer: str) -> Half | None:
    halves = [half for half in stored.halves if half.content.signer == signer and is_well_formed(half)]
    return min(halves, key=lambda half: (half.content.incarnation, half.content.number), default=None)
