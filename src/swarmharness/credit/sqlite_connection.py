"""A connection to the receipt database: opening, checking, migrating, transactions; it knows no receipt."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError

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
        """CREATE INDEX entries_by_epoch ON entries (epoch, complete)""",
        # Two honest halves never share a place: what does not fit into `halves` is evidence, see forks.py.
        """CREATE TABLE halves (
            signer TEXT NOT NULL, incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
            digest BLOB NOT NULL, previous BLOB NOT NULL, signature BLOB NOT NULL,
            PRIMARY KEY (signer, incarnation, number)) WITHOUT ROWID""",
        """CREATE INDEX halves_by_digest ON halves (digest)""",
        """CREATE TABLE conflicting_halves (
            signer TEXT NOT NULL, incarnation INTEGER NOT NULL, number INTEGER NOT NULL,
            digest BLOB NOT NULL, previous BLOB NOT NULL, signature BLOB NOT NULL,
            PRIMARY KEY (digest, signer, incarnation, number, previous)) WITHOUT ROWID""",
        """CREATE VIEW all_halves AS SELECT * FROM halves UNION ALL SELECT * FROM conflicting_halves""",
        """CREATE TABLE forks (signer TEXT PRIMARY KEY, proof BLOB NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE holds (
            worker TEXT NOT NULL, requester TEXT NOT NULL, epoch INTEGER NOT NULL, microcredits INTEGER NOT NULL,
            PRIMARY KEY (worker, requester, epoch)) WITHOUT ROWID""",
        """CREATE TABLE sealed (only INTEGER PRIMARY KEY CHECK (only = 1), incarnation INTEGER NOT NULL)""",
    ),
    (
        """CREATE TABLE file (only INTEGER PRIMARY KEY CHECK (only = 1), inode INTEGER NOT NULL)""",
        """CREATE TABLE unsettled (
            requester TEXT NOT NULL, task BLOB NOT NULL, answered_us INTEGER NOT NULL, terms BLOB NOT NULL,
            PRIMARY KEY (requester, task)) WITHOUT ROWID""",
        """CREATE TABLE games (digest BLOB PRIMARY KEY, epoch INTEGER NOT NULL, game BLOB NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE invited (
            token BLOB PRIMARY KEY, peer_id TEXT NOT NULL, microcredits INTEGER NOT NULL) WITHOUT ROWID""",
    ),
    (
        # A row while the database is open for writing: whoever finds one was not closed.
        """CREATE TABLE opened (only INTEGER PRIMARY KEY CHECK (only = 1), boot TEXT NOT NULL)""",
        """CREATE TABLE floor (
            only INTEGER PRIMARY KEY CHECK (only = 1), incarnation INTEGER NOT NULL, number INTEGER NOT NULL)""",
    ),
)


class Database:
    """One connection to `credit.db`; used by one thread at a time."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the database, creating or migrating it unless `read_only`.

        Raises InputError when the file is damaged, ConfigurationError when a newer version wrote it,
        UnavailableError when it cannot be opened.
        """
        self.path = path
        self._durable = True
        with self.translated():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            with self.translated():
                self.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                self._check()
                if not read_only:
                    self._migrate()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the connection; the last one to close also empties the write-ahead log."""
        self.connection.close()

    def _check(self) -> None:
        problem = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)

    def _migrate(self) -> None:
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)")
        version = self.connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                f"{self.path} was written by a newer SwarmHarness (its version is {version}, this one knows"
                f" {len(MIGRATIONS)}): update SwarmHarness, or use another --data-dir"
            )
        for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                for statement in statements:
                    self.connection.execute(statement)
                self.connection.execute("INSERT INTO migrations VALUES (?)", (number,))

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[None]:
        """All of the block, on disk when it ends (if it is to be durable), or nothing."""
        with self.translated():
            if durable != self._durable:
                self.connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn what SQLite raises in the block into SwarmErrors that say what to do."""
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
