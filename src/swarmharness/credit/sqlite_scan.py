"""Reads a whole receipt database in slices, for audits and exports; it never writes, nor holds more than one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from swarmharness.credit.audit import StoredEntry
from swarmharness.credit.receipt import Half, HalfContent
from swarmharness.credit.sqlite_file import ReceiptFile

SLICE = 256

_HALF = "h.digest, h.signer, h.incarnation, h.number, h.previous, h.signature"


class ReceiptScan(ReceiptFile):
    """A reader of everything; what it yields may be damaged, since it believes nothing that it reads."""

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make all reads of the block see one state, whatever a running node writes meanwhile."""
        with self.translated():
            self.connection.execute("BEGIN")
        try:
            yield
        finally:
            self.connection.execute("ROLLBACK")

    def count(self, oldest_epoch: int = 0) -> int:
        """Return how many entries there are from this epoch on."""
        with self.translated():
            statement = "SELECT count(*) FROM entries WHERE epoch >= ?"
            number: int = self.connection.execute(statement, (oldest_epoch,)).fetchone()[0]
        return number

    def stored_entries(self, oldest_epoch: int = 0) -> Iterator[list[StoredEntry]]:
        """Yield every entry from this epoch on with all its halves, by epoch, in slices."""
        columns = "digest, requester, worker, epoch, share_microcredits, complete, body, stored_us"
        statement = f"SELECT {columns} FROM entries WHERE epoch >= ? ORDER BY epoch"
        with self.translated():
            cursor = self.connection.execute(statement, (oldest_epoch,))
            while rows := cursor.fetchmany(SLICE):
                halves = self._halves_of([row[0] for row in rows])
                yield [_entry(row, halves.get(row[0], ())) for row in rows]

    def chained_halves(self) -> Iterator[Half]:
        """Yield every half by signer, incarnation and number."""
        with self.translated():
            for row in self.connection.execute(f"SELECT {_HALF} FROM all_halves AS h ORDER BY 2, 3, 4"):
                yield _half(row)

    def stray_halves(self) -> Iterator[Half]:
        """Yield every half whose body is not here."""
        condition = "NOT EXISTS (SELECT 1 FROM entries AS e WHERE e.digest = h.digest)"
        with self.translated():
            for row in self.connection.execute(f"SELECT {_HALF} FROM all_halves AS h WHERE {condition}"):
                yield _half(row)

    def _halves_of(self, digests: list[bytes]) -> dict[bytes, list[Half]]:
        marks = ", ".join("?" * len(digests))
        found: dict[bytes, list[Half]] = {}
        for table in ("halves", "conflicting_halves"):
            statement = f"SELECT {_HALF} FROM {table} AS h WHERE h.digest IN ({marks})"
            for row in self.connection.execute(statement, digests):
                found.setdefault(row[0], []).append(_half(row))
        return found


def _half(row: tuple[bytes, str, int, int, bytes, bytes]) -> Half:
    return Half(HalfContent(*row[:5]), row[5])


def _entry(row: tuple[bytes, str, str, int, int, int, bytes, int], halves: Sequence[Half]) -> StoredEntry:
    digest, requester, worker, epoch, share_microcredits, complete, body, stored_us = row
    columns = (digest, requester, worker, epoch, share_microcredits, bool(complete))
    return StoredEntry(*columns, _bytes(body), stored_us, tuple(halves))


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""
