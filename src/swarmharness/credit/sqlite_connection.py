"""The receipt database: its tables, checking and migrating it; it knows no receipt."""

from __future__ import annotations

import sqlite3

from swarmharness.sqlite_connection import Migrations, SqliteConnection

MIGRATIONS: Migrations = (
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


class Database(SqliteConnection):
    """One connection to `credit.db`. Opening raises ConfigurationError when a newer version wrote the file."""

    what = "the receipt database"
    kept = "no receipt was lost"

    def prepare(self, *, read_only: bool) -> None:
        """See `SqliteConnection`."""
        problem = self.connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(problem)
        if not read_only:
            self._migrate()

    def _migrate(self) -> None:
        self.write_ahead()
        self.connection.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY)")
        version = self.connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        note = "INSERT INTO migrations VALUES (?)"
        self.migrate(
            MIGRATIONS,
            version,
            lambda number: self.connection.execute(note, (number,)),
            without="use another --data-dir",
        )
