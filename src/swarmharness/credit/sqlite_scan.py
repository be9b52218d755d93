"""Reads a whole receipt database in slices, for audits and exports; it never writes, nor holds more than one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from swarmharness.credit.audit import StoredEntry
from swarmharness.credit.explaining import Neighbours
from swarmharness.credit.receipt import Half, HalfContent, ReceiptBody
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.errors import ProtocolError
from swarmharness.protocol.codec import decode

SLICE = 256

TASK_DIGITS_MIN = 8
"""Fewer digits than these would be found anywhere in a body."""
_ENTRY = "digest, requester, worker, epoch, share_microcredits, complete, body, stored_us"
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
        statement = f"SELECT {_ENTRY} FROM entries WHERE epoch >= ? ORDER BY epoch"
        with self.translated():
            cursor = self.connection.execute(statement, (oldest_epoch,))
            while rows := cursor.fetchmany(SLICE):
                halves = self._halves_of([row[0] for row in rows])
                yield [_entry(row, halves.get(row[0], ())) for row in rows]

    def find(self, beginning: str, limit: int) -> list[StoredEntry]:
        """Return entries whose digest, or one of whose task ids, begins with these hexadecimal digits."""
        digits = beginning.lower()
        lowest, highest = bytes.fromhex(digits.ljust(64, "0")), bytes.fromhex(digits.ljust(64, "f"))
        found = self._stored("digest BETWEEN ? AND ? LIMIT ?", lowest, highest, limit)
        if found or len(digits) < TASK_DIGITS_MIN:
            return found
        whole_bytes = bytes.fromhex(digits[: len(digits) // 2 * 2])
        return [
            stored
            for stored in self._stored("instr(body, ?) ORDER BY id DESC LIMIT ?", whole_bytes, SLICE)
            if any(task.startswith(digits) for task in _tasks(stored))
        ][:limit]

    def between(self, me: str, peer: str, limit: int) -> list[StoredEntry]:
        """Return the newest entries of these two."""
        condition = "(requester = ?1 AND worker = ?2 OR requester = ?2 AND worker = ?1) ORDER BY id DESC LIMIT ?3"
        return self._stored(condition, me, peer, limit)

    def neighbours(self, half: Half) -> Neighbours:
        """Return the receipts before and after a half in its chain."""
        content = half.content
        statement = "SELECT digest FROM halves WHERE signer = ? AND incarnation = ? AND number = ?"
        found = []
        for number in (content.number - 1, content.number + 1):
            place = (content.signer, content.incarnation, number)
            with self.translated():
                row = self.connection.execute(statement, place).fetchone()
            found.append(None if row is None else row[0])
        return Neighbours(*found)

    def game_text(self, digest: bytes) -> bytes | None:
        """Return the game with this digest, if it is here."""
        if not self.has_table("games"):
            return None
        return next((game.text for game in self.games([digest])), None)

    def game_texts(self, oldest_epoch: int) -> Iterator[bytes]:
        """Yield every game that receipts from this epoch on may name."""
        if not self.has_table("games"):
            return
        with self.translated():
            for (text,) in self.connection.execute("SELECT game FROM games WHERE epoch >= ?", (oldest_epoch,)):
                yield _bytes(text)

    def has_table(self, name: str) -> bool:
        """Tell whether this version of the database has such a table; one that is only read is not migrated."""
        statement = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        with self.translated():
            return self.connection.execute(statement, (name,)).fetchone() is not None

    def _stored(self, condition: str, *values: object) -> list[StoredEntry]:
        with self.translated():
            rows = self.connection.execute(f"SELECT {_ENTRY} FROM entries WHERE {condition}", values).fetchall()
            halves = self._halves_of([row[0] for row in rows])
        return [_entry(row, halves.get(row[0], ())) for row in rows]

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


def _tasks(stored: StoredEntry) -> list[str]:
    try:
        return [task.hex() for task in decode(ReceiptBody, stored.body).tasks]
    except ProtocolError:
        return []
