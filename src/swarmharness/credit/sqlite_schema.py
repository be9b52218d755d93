"""The tables of the receipt database, version by version; it runs no statement itself."""

from __future__ import annotations

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
    (
        """CREATE TABLE forks (signer TEXT PRIMARY KEY, proof BLOB NOT NULL) WITHOUT ROWID""",
        """CREATE TABLE holds (
            worker TEXT NOT NULL, requester TEXT NOT NULL, epoch INTEGER NOT NULL, microcredits INTEGER NOT NULL,
            PRIMARY KEY (worker, requester, epoch)) WITHOUT ROWID""",
        """CREATE INDEX entries_by_epoch ON entries (epoch, complete)""",
    ),
)
