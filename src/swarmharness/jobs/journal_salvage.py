"""Copies what can be read of a damaged journal into a new one; it never changes the damaged file, nor trusts a row."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from swarmharness.errors import ErrorKind, SwarmError
from swarmharness.jobs.journal_file import INDEX_BITS, JournalFile, Row, record_of, terms_of

HOLES_MAX = 10_000
"""A scan that met so many unreadable places ends: the rest is given up."""
_ROW_MAX = 2**62
_COLUMNS = {
    "jobs": "number, id, skill, {kind}, options, deadline_s, source, out, created_us, ended_us, state, reason, fed,"
    " answered, input_ended, spent, {model_digest}",
    "answers": "id, output, error, kind, peer, service_us, receipt, verified, {flags}",
    "chunks": "number, job, peer, receipt, items, first, price, service_us, elapsed_us, answered_us, why",
    "inputs": "job, first, digests",
    "owed": "task, terms",
}
_ANSWER_TYPES = (int, bytes, str, (int, type(None)), str, int, bytes, int, int)
_CHUNK_TYPES = (int, int, str, bytes, int, int, int, int, int, int, (str, type(None)))


def salvage(damaged: Path, into: JournalFile) -> Counter[str]:
    """Copy every readable row of `damaged` into an empty journal; returns how many of each table were kept.

    A file of which nothing can be read gives nothing. Raises UnavailableError if `into` cannot be written.
    """
    kept: Counter[str] = Counter()
    try:
        source = sqlite3.connect(f"{damaged.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error:
        return kept
    try:
        # Otherwise SQLite reads nothing at all of a file that is shorter than it says.
        source.execute("PRAGMA writable_schema = ON")
        jobs: dict[int, Row] = {}
        for row in _rows(source, "jobs", "number"):
            if _is_job(row):
                jobs[row[0]] = row
        kept["jobs"] = _copy(into, "jobs", iter(jobs.values()))
        answers = _rows(source, "answers", "id")
        kept["answers"] = _copy(
            into, "answers", (row for row in answers if row[0] >> INDEX_BITS in jobs and _is_answer(row))
        )
        chunks = _rows(source, "chunks", "number")
        kept["chunks"] = _copy(
            into, "chunks", (row for row in chunks if row[1] in jobs and _has_types(row, _CHUNK_TYPES))
        )
        kept["inputs"] = _copy(into, "inputs", _inputs(source, jobs))
        kept["owed"] = _copy(into, "owed", (row for row in _scan(source, "owed", "", ()) if _is_owed(row)))
    finally:
        source.close()
    return kept


def _columns(source: sqlite3.Connection, table: str) -> str:
    """Return the columns to read: version 1 lacks some, and called one otherwise."""
    try:
        present = {row[1] for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.DatabaseError:
        present = set()
    kind = "kind" if "kind" in present or "task" not in present else "task"
    digest = "model_digest" if "model_digest" in present else "x''"
    return _COLUMNS[table].format(kind=kind, model_digest=digest, flags="flags" if "flags" in present else "0")


def _copy(into: JournalFile, table: str, rows: Iterator[Row]) -> int:
    names = _COLUMNS[table].format(kind="kind", model_digest="model_digest", flags="flags")
    values = ", ".join("?" * len(names.split(",")))
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    into.insert(f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({values})", counted())
    return count


def _scan(source: sqlite3.Connection, table: str, where: str, values: tuple[object, ...]) -> Iterator[Row]:
    """Yield rows until the first one that cannot be read."""
    try:
        yield from source.execute(f"SELECT {_columns(source, table)} FROM {table} {where}", values)
    except (sqlite3.DatabaseError, UnicodeError, OverflowError):
        return


def _rows(source: sqlite3.Connection, table: str, key: str) -> Iterator[Row]:
    """Yield the rows of a table with an integer key, whatever can be reached of them, from both sides of each hole.

    Behind a row that cannot be read the search goes on at a distance that doubles until something is found.
    """
    reached, step = -1, 1
    for _ in range(HOLES_MAX):
        before = reached
        for row in _scan(source, table, f"WHERE {key} >= ? ORDER BY {key}", (reached + step,)):
            if not isinstance(row[0], int):
                break
            yield row
            reached, step = row[0], 1
        if reached == before:
            step *= 2
        if reached + step > _ROW_MAX:
            return
        if _ends(source, table, key, reached + step):
            return


def _ends(source: sqlite3.Connection, table: str, key: str, start: int) -> bool:
    """Tell whether it can be seen that no row is left from `start` on."""
    try:
        return source.execute(f"SELECT {key} FROM {table} WHERE {key} >= ? LIMIT 1", (start,)).fetchone() is None
    except sqlite3.DatabaseError:
        return False


def _inputs(source: sqlite3.Connection, jobs: dict[int, Row]) -> Iterator[Row]:
    for number in jobs:
        first = -1
        for row in _scan(source, "inputs", "WHERE job = ? ORDER BY first", (number,)):
            if _has_types(row, (int, int, bytes)) and row[1] > first:
                yield row
                first = row[1]
        for row in _scan(source, "inputs", "WHERE job = ? AND first > ? ORDER BY first DESC", (number, first)):
            if _has_types(row, (int, int, bytes)):
                yield row


def _has_types(row: Row, types: tuple[type | tuple[type, ...], ...]) -> bool:
    return len(row) == len(types) and all(map(isinstance, row, types))


def _is_job(row: Row) -> bool:
    """SQLite takes any value in any column, and a damaged page may hold anything: only what reads as a job is one."""
    return isinstance(row[0], int) and 0 < row[0] < _ROW_MAX >> INDEX_BITS and _reads(lambda: record_of(row[1:]))


def _is_answer(row: Row) -> bool:
    if not _has_types(row, _ANSWER_TYPES) or not (row[3] is None or _reads(lambda: ErrorKind(row[3]))):
        return False
    # SQLite reads a page behind the end of a file that was cut off as zeros. One that ends an output has the peer too.
    return "\x00" not in row[4]


def _is_owed(row: Row) -> bool:
    return _has_types(row, (bytes, bytes)) and _reads(lambda: terms_of(row[1]))


def _reads(read: Callable[[], object]) -> bool:
    try:
        read()
    except (ValueError, TypeError, KeyError, SwarmError):
        return False
    return True
