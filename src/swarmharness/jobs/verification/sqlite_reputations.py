"""Keeps standings in a small SQLite file; it believes no row that cannot be, and starts anew beside a damaged file."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import trio

from swarmharness.errors import ConfigurationError, UnavailableError
from swarmharness.jobs.verification.reputation import (
    REPUTATIONS_MAX,
    SHUN_S_MAX,
    STRIKES_MAX,
    VALID_MAX,
    Reputation,
    Whose,
)
from swarmharness.jobs.verification.standings import Remembered
from swarmharness.registry.models import model_key
from swarmharness.routing.trust import Trust
from swarmharness.sqlite_connection import Migrations, set_aside

DIGEST_BYTES = 32
TRUST_MICRO_MAX = 10**12
_TEXT_MAX = 128
_TIME_MAX = 2**40
MIGRATIONS: Migrations = (
    (  # The first release made this table and wrote no version down.
        """CREATE TABLE IF NOT EXISTS reputations (
        peer_id TEXT NOT NULL, skill TEXT NOT NULL, valid_in_a_row INTEGER NOT NULL, strikes INTEGER NOT NULL,
        shunned_until_s INTEGER NOT NULL, changed_s INTEGER NOT NULL, trust_valid_micro INTEGER NOT NULL,
        trust_invalid_micro INTEGER NOT NULL, PRIMARY KEY (peer_id, skill)) WITHOUT ROWID""",
    ),
    (  # What was known of a skill, nobody knows of which model, is known of the skill as a whole: no digest.
        """ALTER TABLE reputations RENAME TO reputations_of_skills""",
        """CREATE TABLE reputations (
        peer_id TEXT NOT NULL, skill TEXT NOT NULL, model_digest BLOB NOT NULL, valid_in_a_row INTEGER NOT NULL,
        strikes INTEGER NOT NULL, shunned_until_s INTEGER NOT NULL, changed_s INTEGER NOT NULL,
        trust_valid_micro INTEGER NOT NULL, trust_invalid_micro INTEGER NOT NULL,
        PRIMARY KEY (peer_id, skill, model_digest)) WITHOUT ROWID""",
        """INSERT INTO reputations SELECT peer_id, skill, x'', valid_in_a_row, strikes, shunned_until_s, changed_s,
        trust_valid_micro, trust_invalid_micro FROM reputations_of_skills""",
        """DROP TABLE reputations_of_skills""",
    ),
)
_SELECT = """SELECT peer_id, skill, model_digest, valid_in_a_row, strikes, shunned_until_s, changed_s,
    trust_valid_micro, trust_invalid_micro FROM reputations ORDER BY changed_s LIMIT ?"""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class SqliteReputationStore:
    """`ReputationStore` in one file, which every call opens anew: that is once a second at most."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def load(self) -> list[Remembered]:
        """See `ReputationStore`; a damaged file is set aside as `….damaged-<unix_us>`, and everybody is new."""
        return await self._in_thread(self._load)

    async def save(self, changed: Sequence[Remembered], gone: Sequence[Whose]) -> None:
        """See `ReputationStore`."""
        await self._in_thread(lambda: self._save(changed, gone))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(function)
        except (sqlite3.Error, OSError) as error:
            raise UnavailableError(
                f"{self._path} cannot be used now ({error}): check its disk and permissions"
            ) from None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=5.0)
        try:
            _migrate(connection, self._path)
            with connection:
                yield connection
        finally:
            connection.close()

    def _load(self) -> list[Remembered]:
        try:
            with self._open() as connection:
                rows = connection.execute(_SELECT, (REPUTATIONS_MAX,)).fetchall()
        except sqlite3.OperationalError:
            raise  # busy, or the disk: not damaged
        except sqlite3.DatabaseError:
            aside = set_aside(self._path, time.time_ns() // 1000)
            _log.warning("what checks told of peers was damaged: it is now %s, and is learnt anew", aside)
            return []
        return [row for row in map(_read, rows) if row is not None]

    def _save(self, changed: Sequence[Remembered], gone: Sequence[Whose]) -> None:
        with self._open() as connection:
            connection.executemany(
                "DELETE FROM reputations WHERE peer_id = ? AND skill = ? AND model_digest = ?",
                [(peer_id, model.skill, model.digest) for peer_id, model in gone],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO reputations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        row.peer_id,
                        row.model.skill,
                        row.model.digest,
                        row.reputation.valid_in_a_row,
                        row.reputation.strikes,
                        row.reputation.shunned_until_s,
                        row.reputation.changed_s,
                        row.trust.valid_micro,
                        row.trust.invalid_micro,
                    )
                    for row in changed
                ],
            )


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the table up to date; raises ConfigurationError for one of a newer release."""
    if _version(connection) == len(MIGRATIONS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        version = _version(connection)
        if version > len(MIGRATIONS):
            raise ConfigurationError(
                f"{path} was written by a newer SwarmHarness (its version is {version}, this one knows"
                f" {len(MIGRATIONS)}): update SwarmHarness, or move the file away to know nobody"
            )
        for statements in MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _read(row: Sequence[object]) -> Remembered | None:
    """Return a row if it can be one: SQLite takes any type in any column, and the file may come from anywhere."""
    peer_id, skill, digest, *numbers = row
    if not (isinstance(peer_id, str) and isinstance(skill, str) and isinstance(digest, bytes)):
        return None
    limits = (VALID_MAX, STRIKES_MAX, _TIME_MAX + SHUN_S_MAX, _TIME_MAX, TRUST_MICRO_MAX, TRUST_MICRO_MAX)
    valid: list[int] = []
    for number, most in zip(numbers, limits, strict=True):
        if type(number) is not int or not 0 <= number <= most:
            return None
        valid.append(number)
    in_a_row, strikes, shunned_s, changed_s, trusted, distrusted = valid
    if not (0 < len(peer_id) <= _TEXT_MAX and len(skill) <= _TEXT_MAX and len(digest) in (0, DIGEST_BYTES)):
        return None
    if not trusted + distrusted:
        return None
    known = Reputation(in_a_row, strikes, shunned_s, changed_s)
    return Remembered(peer_id, model_key(skill, digest), known, Trust(trusted, distrusted))
