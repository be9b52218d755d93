"""Every SQL statement of the jobs' journal; blocking, it never touches trio.

One row for each job, each batch of inputs (their digests only), each answer and each answered chunk. An answer's row id
is `job number << 36 | index`, so that answers lie on disk in the order in which they are handed out.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import ConfigurationError, ErrorKind, ProtocolError, UnavailableError
from swarmharness.execution.ports import TRUNCATED
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.journal import (
    DIGEST_BYTES,
    UNKNOWN_DIGEST,
    AnsweredChunk,
    ItemResult,
    JobRecord,
    JobState,
    Shortcomings,
)
from swarmharness.json_text import read_json
from swarmharness.protocol.codec import decode
from swarmharness.sqlite_connection import Migrations, SqliteConnection

APPLICATION_ID = 0x53574A4C  # "SWJL"
INDEX_BITS = 36
MODEL_DIGEST_BYTES = 32
_PRUNED_AT_ONCE = 5_000
_SIMILAR_MAX = 5

MIGRATIONS: Migrations = (
    (
        """CREATE TABLE jobs (
        number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, skill TEXT NOT NULL, task TEXT NOT NULL,
        options TEXT NOT NULL, deadline_s REAL NOT NULL, source TEXT NOT NULL, out TEXT NOT NULL,
        created_us INTEGER NOT NULL, ended_us INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
        fed INTEGER NOT NULL, answered INTEGER NOT NULL, input_ended INTEGER NOT NULL, spent INTEGER NOT NULL)""",
        """CREATE TABLE inputs (
        job INTEGER NOT NULL, first INTEGER NOT NULL, digests BLOB NOT NULL, PRIMARY KEY (job, first)) WITHOUT ROWID""",
        """CREATE TABLE answers (
        id INTEGER PRIMARY KEY, output BLOB NOT NULL, error TEXT NOT NULL, kind INTEGER, peer TEXT NOT NULL,
        service_us INTEGER NOT NULL, receipt BLOB NOT NULL, verified INTEGER NOT NULL)""",
        """CREATE TABLE chunks (
        number INTEGER PRIMARY KEY, job INTEGER NOT NULL, peer TEXT NOT NULL, receipt BLOB NOT NULL,
        items INTEGER NOT NULL, first INTEGER NOT NULL, price INTEGER NOT NULL, service_us INTEGER NOT NULL,
        elapsed_us INTEGER NOT NULL, answered_us INTEGER NOT NULL, why TEXT)""",
        """CREATE INDEX chunks_by_job ON chunks (job, number)""",
        """CREATE TABLE owed (task BLOB PRIMARY KEY, terms BLOB NOT NULL) WITHOUT ROWID""",
    ),
    (
        """ALTER TABLE jobs RENAME COLUMN task TO kind""",
        # The model that the job is pinned to: SHA-256, or nothing for a job of an earlier release.
        """ALTER TABLE jobs ADD COLUMN model_digest BLOB NOT NULL DEFAULT x''""",
        # What an answer says of itself, see `messages.Output`.
        """ALTER TABLE answers ADD COLUMN flags INTEGER NOT NULL DEFAULT 0""",
        # The few answers that `Journal.shortcomings` counts.
        """CREATE INDEX answers_short ON answers (id, kind, flags) WHERE kind IS NOT NULL OR flags <> 0""",
    ),
)

Row = tuple[Any, ...]
Change = tuple[str, Sequence[Row]]
"""A statement, and the rows to run it with."""

_JOB_COLUMNS = (
    "id, skill, kind, options, deadline_s, source, out, created_us, ended_us, state, reason, fed, answered,"
    " input_ended, spent, model_digest"
)
BEGIN = f"INSERT INTO jobs ({_JOB_COLUMNS}) VALUES ({', '.join('?' * len(_JOB_COLUMNS.split(',')))})"
BEGIN_AGAIN = (
    "UPDATE jobs SET options = ?, deadline_s = ?, out = ?, state = 'open', reason = '', ended_us = 0 WHERE id = ?"
)
COUNTS = "UPDATE jobs SET fed = ?, answered = ?, input_ended = ?, spent = ? WHERE id = ?"
END = "UPDATE jobs SET state = ?, reason = ?, ended_us = ? WHERE id = ?"
FED = "INSERT OR REPLACE INTO inputs SELECT number, ?, ? FROM jobs WHERE id = ?"
ANSWERED = (
    "INSERT OR REPLACE INTO answers (id, output, error, kind, peer, service_us, receipt, verified, flags)"
    f" SELECT number << {INDEX_BITS} | ?, ?, ?, ?, ?, ?, ?, ?, ? FROM jobs WHERE id = ?"
)
CHUNK = "INSERT INTO chunks SELECT NULL, number, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM jobs WHERE id = ?"
VOIDED = f"DELETE FROM answers WHERE id = (SELECT number << {INDEX_BITS} | ? FROM jobs WHERE id = ?)"
OWED = "INSERT OR REPLACE INTO owed VALUES (?, ?)"
SETTLED = "DELETE FROM owed WHERE task = ?"

_JOB = f"SELECT {_JOB_COLUMNS} FROM jobs"


def job_row(record: JobRecord) -> Row:
    """Return the values of `BEGIN`."""
    return (
        *(record.job_id, record.skill, record.kind, options_text(record.options), record.deadline_s),
        *(json.dumps(dict(record.source)), path_value(record.out), record.created_us, record.ended_us),
        *(str(record.state), record.reason, record.items_fed, record.items_answered),
        *(record.input_ended, record.spent_microcredits, record.model_digest),
    )


def path_value(path: str) -> str | bytes:
    """Return a path as SQLite takes it: one that is no UTF-8 as bytes, also in a column of texts."""
    raw = os.fsencode(path)
    return raw if path != raw.decode("utf-8", "replace") else path


def options_text(options: JobOptions) -> str:
    """Return options as JSON."""
    values = {
        "verify": options.verify,
        "replicas": options.replicas,
        "budget": options.budget_microcredits,
        "wait": options.wait,
    }
    return json.dumps({**values, "parameters": options.parameters.hex()} if options.parameters else values)


def _options(text: str) -> JobOptions:
    said = read_json(text)
    return JobOptions(
        said["verify"],
        said["replicas"],
        said["budget"],
        said.get("wait", False),
        bytes.fromhex(said.get("parameters", "")),
    )


def record_of(row: Row) -> JobRecord:
    """Return the job of a row of `_JOB_COLUMNS`; raises ValueError, TypeError or KeyError for one that is none."""
    job_id, skill, kind, options, deadline_s, source, out, created_us, ended_us, state, reason, *counts = row
    fed, answered, input_ended, spent, model_digest = counts[:5]
    if not all(isinstance(text, str) for text in (job_id, skill, kind, os.fsdecode(out), reason)):
        raise TypeError("a text of a job is none")
    if not isinstance(model_digest, bytes) or len(model_digest) not in (0, MODEL_DIGEST_BYTES):
        raise TypeError("the model of a job is none")
    return JobRecord(
        job_id=job_id,
        skill=skill,
        kind=kind,
        options=_options(options),
        deadline_s=float(deadline_s),
        source=dict(read_json(source)),
        out=os.fsdecode(out),
        created_us=int(created_us),
        ended_us=int(ended_us),
        state=JobState(state),
        reason=reason,
        items_fed=int(fed),
        items_answered=int(answered),
        input_ended=bool(input_ended),
        spent_microcredits=int(spent),
        model_digest=model_digest,
    )


def terms_of(data: bytes) -> TaskTerms:
    """Return what a row of `owed` holds; raises ProtocolError for bytes that are no terms."""
    return decode(TaskTerms, data)


class JournalFile(SqliteConnection):
    """One connection to a journal.

    Opening raises DamagedFileError for a damaged file, and ConfigurationError for one that is not a journal. A row that
    cannot be what it should be is damage too.
    """

    what = "the journal of jobs"
    kept = "no answer was lost"

    def prepare(self, *, read_only: bool) -> None:
        """See `SqliteConnection`."""
        connection = self.connection
        identity = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and identity != APPLICATION_ID:
            raise ConfigurationError(
                f"{self.path} is not a journal of jobs but another database: move it away, and a new one is started"
            )
        if tables:
            self.check_tables()
        if read_only:
            return
        if not tables:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self.write_ahead()
        self.migrate(MIGRATIONS, version, self._note_version, without="move the file away to start without its jobs")

    def _note_version(self, version: int) -> None:
        self.connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self.connection.execute(f"PRAGMA user_version = {version}")

    def check_tables(self) -> None:
        """Raise DamagedFileError if a table is missing, which SQLite would call our mistake."""
        found = {row[0] for row in self._all("SELECT name FROM sqlite_master WHERE type = 'table'")}
        missing = {"jobs", "inputs", "answers", "chunks", "owed"} - found
        if missing:
            raise self.damaged(f"it has no table {', '.join(sorted(missing))}")

    def insert(self, statement: str, rows: Iterable[Row]) -> None:
        """Insert all of the rows, on disk when this returns, or none."""
        with self.transaction():
            self.connection.executemany(statement, rows)

    def write(self, changes: Sequence[Change]) -> None:
        """Make all of the changes, on disk when this returns, or none."""
        with self.readable(), self.transaction():
            for statement, rows in changes:
                self.connection.executemany(statement, rows)

    def fold(self) -> None:
        """Move all that is written from the write-ahead log into the file itself; UnavailableError if it is not all."""
        with self.translated():
            busy = self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        if busy:
            raise UnavailableError(f"{self.what} {self.path} is in use by another program")

    def job(self, job_id: str) -> JobRecord | None:
        """See `Journal.job`."""
        row = self._one(f"{_JOB} WHERE id = ?", job_id)
        return None if row is None else record_of(row)

    def jobs_beginning(self, start: str) -> list[JobRecord]:
        """See `Journal.jobs_beginning`."""
        statement = f"{_JOB} WHERE substr(id, 1, ?) = ? ORDER BY number LIMIT ?"
        return [record_of(row) for row in self._all(statement, len(start), start, _SIMILAR_MAX)]

    def jobs(self, limit: int) -> list[JobRecord]:
        """See `Journal.jobs`."""
        return [record_of(row) for row in self._all(f"{_JOB} ORDER BY number DESC LIMIT ?", limit)]

    def chunks(self, job_id: str, limit: int) -> list[AnsweredChunk]:
        """See `Journal.chunks`."""
        columns = "peer, receipt, items, first, price, service_us, elapsed_us, answered_us, why"
        rows = self._all(
            f"SELECT {columns} FROM chunks WHERE job = (SELECT number FROM jobs WHERE id = ?)"
            " ORDER BY number DESC LIMIT ?",
            *(job_id, limit),
        )
        return [
            AnsweredChunk(
                *(row[0], row[1].hex(), row[2], row[3], row[4], row[5], row[6], row[7]),
                why=None if row[8] is None else read_json(row[8]),
            )
            for row in rows
        ]

    def digests(self, job_id: str, first_index: int, count: int) -> bytes:
        """See `Journal.digests`."""
        number = self._number(job_id)
        before = self._one("SELECT max(first) FROM inputs WHERE job = ? AND first <= ?", number, first_index)
        start = before[0] if before and before[0] is not None else first_index
        rows = self._all(
            "SELECT first, digests FROM inputs WHERE job = ? AND first >= ? AND first < ? ORDER BY first",
            *(number, start, first_index + count),
        )
        found = bytearray(UNKNOWN_DIGEST * count)
        for first, digests in rows:
            skipped = max(0, first_index - first)
            place = (first + skipped - first_index) * DIGEST_BYTES
            part = digests[skipped * DIGEST_BYTES : (first_index + count - first) * DIGEST_BYTES]
            found[place : place + len(part)] = part
        return bytes(found)

    def answered_bits(self, job_id: str, items: int) -> bytearray:
        """See `Journal.answered_bits`."""
        base = self._number(job_id) << INDEX_BITS
        bits = bytearray((items + 7) // 8)
        with self.translated():
            for (row_id,) in self.connection.execute(
                "SELECT id FROM answers WHERE id >= ? AND id < ?", (base, base + items)
            ):
                bits[(row_id - base) >> 3] |= 1 << (row_id & 7)
        return bits

    def results(self, job_id: str, first_index: int, count: int, size_bytes: int) -> list[ItemResult]:
        """See `Journal.results`."""
        base = self._number(job_id) << INDEX_BITS
        found: list[ItemResult] = []
        with self.translated():
            rows = self.connection.execute(
                "SELECT id, output, error, kind, peer, service_us, receipt, verified, flags FROM answers"
                " WHERE id >= ? AND id < ? ORDER BY id",
                (base + first_index, base + first_index + count),
            )
            for row_id, output, error, kind, peer, service_us, receipt, verified, flags in rows:
                index = row_id - base
                size_bytes -= len(output)
                if index != first_index + len(found) or (found and size_bytes < 0):
                    break
                problem = None if kind is None else ErrorKind(kind)
                told = (peer, service_us, receipt.hex(), bool(verified), flags)
                found.append(ItemResult(index, output, error, problem, *told))
        return found

    def shortcomings(self, job_id: str) -> Shortcomings:
        """See `Journal.shortcomings`."""
        base = self._number(job_id) << INDEX_BITS
        row = self._one(
            "SELECT count(kind), total(flags & ? <> 0) FROM answers"
            " WHERE (kind IS NOT NULL OR flags <> 0) AND id >= ? AND id < ?",
            *(TRUNCATED, base, base + (1 << INDEX_BITS)),
        )
        return Shortcomings() if row is None else Shortcomings(row[0], round(row[1]))

    def owed(self) -> list[TaskTerms]:
        """See `Journal.owed`."""
        return [terms_of(terms) for (terms,) in self._all("SELECT terms FROM owed")]

    @property
    def used_bytes(self) -> int:
        """How much of the file is in use."""
        pages, free, size = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def prune_once(self, *, older_than_us: int, keep_bytes: int) -> bool:
        """Delete a part of the oldest ended job that is too old, or too much; False if there is none."""
        oldest = self._one("SELECT number, ended_us FROM jobs WHERE state <> 'open' ORDER BY ended_us, number LIMIT 1")
        if oldest is None or (oldest[1] >= older_than_us and self.used_bytes <= keep_bytes):
            return False
        number = oldest[0]
        base, end = number << INDEX_BITS, (number + 1) << INDEX_BITS
        with self.transaction():
            gone = self.connection.execute(
                "DELETE FROM answers WHERE id IN (SELECT id FROM answers WHERE id >= ? AND id < ? LIMIT ?)",
                (base, end, _PRUNED_AT_ONCE),
            ).rowcount
            if gone < _PRUNED_AT_ONCE:
                for statement in ("inputs WHERE job", "chunks WHERE job", "jobs WHERE number"):
                    self.connection.execute(f"DELETE FROM {statement} = ?", (number,))
        with self.translated():
            self.connection.execute("PRAGMA incremental_vacuum(4096)").fetchall()
        return True

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Take rows that cannot be for damage: of a damaged page SQLite may read anything."""
        try:
            yield
        except (ValueError, TypeError, KeyError, ProtocolError, sqlite3.IntegrityError) as error:
            raise self.damaged(f"it has a row that cannot be: {error}") from error

    def _number(self, job_id: str) -> int:
        row = self._one("SELECT number FROM jobs WHERE id = ?", job_id)
        return -1 if row is None else int(row[0])

    def _one(self, statement: str, *values: object) -> Row | None:
        with self.translated():
            row: Row | None = self.connection.execute(statement, values).fetchone()
        return row

    def _all(self, statement: str, *values: object) -> list[Row]:
        with self.translated():
            return self.connection.execute(statement, values).fetchall()
