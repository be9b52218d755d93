"""The receipt database itself: schema, migrations and every SQL statement; blocking, it never touches trio."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from swarmharness.credit.accounts import Balance, Entry, balance_of
from swarmharness.credit.receipt import Half, HalfContent, ReceiptBody, body_digest, link_digest
from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.protocol.codec import decode, encode

BUSY_TIMEOUT_MS = 5_000

# Each element takes a database from version `index` to `index + 1`; released elements never change.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE owner (only INTEGER PRIMARY KEY CHECK (only = 1), peer_id TEXT NOT NULL)""",
        """CREATE TABLE entries (
            id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, requester TEXT NOT NULL, worker TEXT NOT NULL,
            epoch INTEGER NOT NULL, share_microcredits INTEGER NOT NULL, complete INTEGER NOT NULL DEFAULT 0,
            stored_us INTEGER NOT NULL, body BLOB NOT NULL)""",
        """CREATE INDEX entries_by_requester ON entries (requester, complete, worker, share_microcredits)""",
        """CREATE INDEX entries_by_worker ON entries (worker, complete, requester, share_microcredits)""",
        """CREATE TABLE halves (
            signer TEXT NOT NULL, incarnation INTEGER NOT NULL, number INTEGER NOT NULL, link BLOB NOT NULL,
            digest BLOB NOT NULL, previous BLOB NOT NULL, signature BLOB NOT NULL,
            PRIMARY KEY (signer, incarnation, number, link)) WITHOUT ROWID""",
        """CREATE INDEX halves_by_digest ON halves (digest)""",
    ),
)


class ReceiptFile:
    """One connection to `credit.db`; used by one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the database, creating or migrating it unless `read_only`.

        Raises InputError when the file is damaged, ConfigurationError when a newer version wrote it,
        UnavailableError when it cannot be opened.
        """
        self.path = path
        with self._translated():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self._db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            with self._translated():
                self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                self._check()
                if not read_only:
                    self._migrate()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection; the last one to close also empties the write-ahead log."""
        self._db.close()

    def commit(self, entries: Sequence[Entry]) -> None:
        """See `store.ReceiptStore.commit`."""
        with self._transaction():
            for entry in entries:
                self._insert(entry)

    def owner(self) -> PeerId | None:
        """Return the node that this database belongs to."""
        with self._translated():
            row = self._db.execute("SELECT peer_id FROM owner").fetchone()
        return None if row is None else PeerId(row[0])

    def set_owner(self, peer_id: PeerId) -> None:
        """Remember the node that this database belongs to, for readers that have no key at hand."""
        if self.owner() != peer_id:
            with self._transaction():
                self._db.execute("INSERT OR REPLACE INTO owner VALUES (1, ?)", (peer_id,))

    def head(self, signer: PeerId) -> Half | None:
        """See `store.ReceiptStore.head`."""
        rows = self._halves("signer = ? ORDER BY incarnation DESC, number DESC LIMIT 1", signer)
        return rows[0] if rows else None

    def entry(self, digest: bytes) -> Entry | None:
        """See `store.ReceiptStore.entry`."""
        found = self._entries("digest = ?", digest)
        return found[0] if found else None

    def unfinished(self, requester: PeerId, stored_after_us: int, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.unfinished`."""
        signed = "EXISTS (SELECT 1 FROM halves WHERE halves.digest = entries.digest AND signer = requester)"
        condition = f"requester = ? AND complete = 0 AND stored_us > ? AND {signed} ORDER BY id DESC LIMIT ?"
        return self._entries(condition, requester, stored_after_us, limit)

    def balance(self, peer_id: PeerId) -> Balance:
        """See `store.ReceiptStore.balance`."""
        sums = "SELECT requester, worker, sum(share_microcredits), count(*), complete FROM entries"
        with self._translated():
            rows = [
                *self._db.execute(f"{sums} WHERE requester = ? GROUP BY complete, worker", (peer_id,)),
                *self._db.execute(f"{sums} WHERE worker = ? GROUP BY complete, requester", (peer_id,)),
            ]
        flows = [(requester, worker, total, count) for requester, worker, total, count, complete in rows if complete]
        return balance_of(peer_id, flows, sum(row[3] for row in rows if not row[4]))

    def history(self, peer_id: PeerId, limit: int) -> list[Entry]:
        """See `store.ReceiptStore.history`."""
        return self._entries("requester = ?1 OR worker = ?1 ORDER BY id DESC LIMIT ?2", peer_id, limit)

    def _insert(self, entry: Entry) -> None:
        body = entry.body
        digest = body_digest(body)
        self._db.execute(
            "INSERT INTO entries (digest, requester, worker, epoch, share_microcredits, stored_us, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (digest, body.requester, body.worker, body.epoch, body.share_microcredits, entry.stored_us, encode(body)),
        )
        for half in filter(None, (entry.requester_half, entry.worker_half)):
            content = half.content
            self._db.execute(
                "INSERT INTO halves VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    *(content.signer, content.incarnation, content.number, link_digest(content)),
                    *(content.body_digest, content.previous, half.signature),
                ),
            )
        self._db.execute(
            "UPDATE entries SET complete = 1 WHERE digest = ?1 AND NOT complete"
            " AND 2 = (SELECT count(DISTINCT signer) FROM halves WHERE halves.digest = ?1)",
            (digest,),
        )

    def _entries(self, condition: str, *values: object) -> list[Entry]:
        with self._translated():
            rows = self._db.execute(f"SELECT digest, body, stored_us FROM entries WHERE {condition}", values).fetchall()
        entries = []
        for digest, body_bytes, stored_us in rows:
            body = decode(ReceiptBody, body_bytes)
            halves = self._halves("digest = ? ORDER BY incarnation DESC, number DESC", digest)
            by_signer = {half.content.signer: half for half in halves}
            entries.append(Entry(body, by_signer.get(body.requester), by_signer.get(body.worker), stored_us))
        return entries

    def _halves(self, condition: str, *values: object) -> list[Half]:
        columns = "digest, signer, incarnation, number, previous, signature"
        with self._translated():
            rows = self._db.execute(f"SELECT {columns} FROM halves WHERE {condition}", values).fetchall()
        return [Half(HalfContent(*row[:5]), row[5]) for row in rows]

    def _check(self) -> None:
        problem = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)

    def _migrate(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)")
        version = self._db.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                f"{self.path} was written by a newer SwarmHarness (its version is {version}, this one knows"
                f" {len(MIGRATIONS)}): update SwarmHarness, or use another --data-dir"
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            with self._transaction():
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute("INSERT INTO migrations VALUES (?)", (number,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):
            raise  # our own mistake
        except sqlite3.DatabaseError as error:
            raise _swarm_error(self.path, error) from error


def _swarm_error(path: Path, error: sqlite3.DatabaseError) -> SwarmError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return UnavailableError(f"the disk of {path} is full: free some space; no receipt was lost")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return InputError(f"the receipt database {path} is damaged ({error}): restart the node, which sets it aside")
    return UnavailableError(f"the receipt database {path} cannot be used now ({error}): check its disk and permissions")
