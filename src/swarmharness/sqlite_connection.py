"""A connection to one SQLite file: opening, transactions, errors that say what to do; it knows no table."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from swarmharness.errors import ConfigurationError, DamagedFileError, SwarmError, UnavailableError

BUSY_TIMEOUT_MS = 5_000

Migrations = tuple[tuple[str, ...], ...]
"""Each element takes a database from version `index` to `index + 1`; released elements never change."""


class SqliteConnection:
    """Used by one thread at a time. Who derives from it says what the file is, and makes its tables in `prepare`."""

    what = "the database"
    kept = "nothing was lost"
    """What a full disk did not do."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open the file, making it unless `read_only`; UnavailableError if it cannot be opened."""
        self.path = path
        self._durable = True
        with self.translated():
            uri = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
            self.connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
        try:
            with self.translated():
                self.connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                self.prepare(read_only=read_only)
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        """Close the connection; the last one to close also empties the write-ahead log."""
        self.connection.close()

    def prepare(self, *, read_only: bool) -> None:
        """Check the file and bring its tables up to date, unless `read_only`."""
        raise NotImplementedError

    def damaged(self, problem: object) -> DamagedFileError:
        """Return the error for a file that is no database, or not a whole one."""
        return DamagedFileError(
            f"{self.what} {self.path} is damaged ({problem}): start the node again, which sets it aside"
        )

    def migrate(self, migrations: Migrations, version: int, note: Callable[[int], object], *, without: str) -> None:
        """Bring the tables from `version` up to date, one transaction a step; `note` writes a step's version down.

        Raises ConfigurationError for a newer version; `without` says how to go on without this file.
        """
        if version > len(migrations):
            raise ConfigurationError(
                f"{self.path} was written by a newer SwarmHarness (its version is {version}, this one knows"
                f" {len(migrations)}): update SwarmHarness, or {without}"
            )
        for number, statements in enumerate(migrations[version:], start=version + 1):
            with self.transaction():
                for statement in statements:
                    self.connection.execute(statement)
                note(number)

    def write_ahead(self) -> None:
        """Keep a write-ahead log, and have what is committed on disk."""
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = FULL")

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
            raise self._swarm_error(error) from error

    def _swarm_error(self, error: sqlite3.DatabaseError) -> SwarmError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return UnavailableError(f"the disk of {self.path} is full: free some space; {self.kept}")
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return self.damaged(error)
        return UnavailableError(f"{self.what} {self.path} cannot be used now ({error}): check its disk and permissions")


def set_aside(path: Path, unix_us: int) -> Path:
    """Rename a database that nobody has open, with its write-ahead log, and return its new name; raises OSError."""
    aside = path.with_name(f"{path.name}.damaged-{unix_us}")
    for suffix in ("-wal", "-shm", ""):  # the database last: while it stands, this can be done again
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
