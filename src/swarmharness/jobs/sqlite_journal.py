"""`Journal` on SQLite, off the event loop: gathers what is noted and writes it in groups; it holds no SQL."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import trio

from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import DamagedFileError, SwarmError, UnavailableError
from swarmharness.jobs import journal_file as sql
from swarmharness.jobs.journal import AnsweredChunk, Counts, ItemResult, JobRecord, JobState, Shortcomings
from swarmharness.jobs.journal_file import Change, JournalFile
from swarmharness.jobs.journal_files import JournalFiles
from swarmharness.ports import Clock, SteadyTime, SystemClock
from swarmharness.protocol.codec import encode

GATHER_S = 0.05
"""What is noted within so long is written together."""
PENDING_BYTES_MAX = 32 * 2**20
RETRY_S = 1.0
LAZY_MAX = 1000
"""So many changes that nobody waits for are written without company."""
PRUNE_EVERY_S = 600.0
_ROW_BYTES = 200
"""What a row takes in memory beside its output."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long ended jobs are kept: until either is exceeded. Jobs that are not ended are kept for ever."""

    days: float = 7.0
    size_bytes: int = 1024 * 2**20
    clock_patience_s: float = 3600.0
    """So long after the start nothing is too old: a clock that was ahead then has been set right, as machines do."""


@dataclass(slots=True)
class _Batch:
    changes: list[Change] = field(default_factory=list)
    forming: list[tuple[str, AnsweredChunk, Callable[[], Mapping[str, Any]] | None]] = field(default_factory=list)
    on_kept: list[Callable[[], None]] = field(default_factory=list)
    size_bytes: int = 0
    written: trio.Event = field(default_factory=trio.Event)


class SqliteJournal:
    """See `Journal`; made by `open_journal`."""

    def __init__(self, files: JournalFiles, keeping: Keeping, clock: Clock) -> None:
        self.files = files
        self._writing, self._reading = trio.CapacityLimiter(1), trio.CapacityLimiter(1)
        self._keeping = keeping
        self._clock, self._steady, self._began_us = clock, SteadyTime(clock), clock.monotonic_us()
        self._batch = _Batch()
        self._being_written: _Batch | None = None
        self._noted = trio.Event()
        self._hurry = trio.Event()
        self._unwritten_bytes = 0
        self._changed = trio.Event()
        self._problem: SwarmError | None = None

    # -- noting -----------------------------------------------------------------------------------------------

    def begin(self, record: JobRecord) -> None:
        """See `Journal`."""
        self._note((sql.BEGIN, [sql.job_row(record)]))

    def begin_again(self, record: JobRecord) -> None:
        """See `Journal`."""
        row = (sql.options_text(record.options), record.deadline_s, sql.path_value(record.out), record.job_id)
        self._note((sql.BEGIN_AGAIN, [row]))

    def fed(self, job_id: str, first_index: int, digests: bytes, counts: Counts) -> None:
        """See `Journal`."""
        fed = [(sql.FED, [(first_index, digests, job_id)])] if digests else []
        self._note(*fed, _counts(job_id, counts), size_bytes=len(digests))

    def answered(
        self,
        job_id: str,
        results: Sequence[ItemResult],
        chunk: AnsweredChunk | None,
        owed: TaskTerms | None,
        counts: Counts,
        on_kept: Callable[[], None],
        *,
        why: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """See `Journal`."""
        rows = [
            (
                *(result.index, result.output, result.error),
                None if result.error_kind is None else int(result.error_kind),
                *(result.peer, result.service_us, bytes.fromhex(result.receipt), result.verified),
                *(result.flags, job_id),
            )
            for result in results
        ]
        changes: list[Change] = [(sql.ANSWERED, rows), _counts(job_id, counts)]
        if owed is not None:
            changes.append((sql.OWED, [(owed.task, encode(owed))]))
        if chunk is not None:
            self._batch.forming.append((job_id, chunk, why))
        self._batch.on_kept.append(on_kept)
        self._note(*changes, size_bytes=sum(len(result.output) + len(result.error) for result in results))

    def voided(self, job_id: str, indices: Sequence[int], receipts: Sequence[str], counts: Counts) -> None:
        """See `Journal`."""
        self._note(
            (sql.VOIDED, [(index, job_id) for index in indices]),
            (sql.SETTLED, [(bytes.fromhex(receipt),) for receipt in receipts]),
            _counts(job_id, counts),
        )

    def settled(self, tasks: Iterable[bytes]) -> None:
        """See `Journal`."""
        # Nothing is lost if this is not written: the receipt is found at the next start. So it waits for company.
        self._add((sql.SETTLED, [(task,) for task in tasks]))
        if len(self._batch.changes) > LAZY_MAX:
            self._noted.set()

    def end(self, job_id: str, state: JobState, reason: str, ended_us: int, counts: Counts) -> None:
        """See `Journal`."""
        self._note(_counts(job_id, counts), (sql.END, [(str(state), reason, ended_us, job_id)]))

    def cancel(self, record: JobRecord, ended_us: int) -> None:
        """See `Journal`."""
        self._note((sql.END, [(str(JobState.CANCELLED), "the job was cancelled", ended_us, record.job_id)]))

    def _note(self, *changes: Change, size_bytes: int = 0) -> None:
        self._add(*changes, size_bytes=size_bytes)
        self._noted.set()

    def _add(self, *changes: Change, size_bytes: int = 0) -> None:
        self._batch.changes += changes
        size_bytes += _ROW_BYTES * sum(len(rows) for _, rows in changes)
        self._batch.size_bytes += size_bytes
        self._unwritten_bytes += size_bytes
        if self._unwritten_bytes > PENDING_BYTES_MAX // 4:
            self._hurry.set()

    # -- writing ----------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str:
        """See `Journal`."""
        return "" if self._problem is None else str(self._problem)

    async def room(self) -> None:
        """See `Journal`."""
        while self._unwritten_bytes > PENDING_BYTES_MAX:
            if self._problem is not None:
                raise self._problem
            await self._changed.wait()

    async def flush(self) -> None:
        """See `Journal`."""
        batch = self._batch if self._batch.changes else self._being_written
        if batch is None:
            return
        self._noted.set()
        self._hurry.set()
        while not batch.written.is_set():
            if self._problem is not None:
                raise self._problem
            changed = self._changed
            await changed.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what is noted, and prune, until cancelled; what was noted until then is written first."""
        task_status.started()
        prune_at = trio.current_time()
        try:
            while True:
                with trio.move_on_at(prune_at):
                    await self._noted.wait()
                if trio.current_time() >= prune_at:
                    await self._prune()
                    prune_at = trio.current_time() + PRUNE_EVERY_S
                if self._noted.is_set():
                    with trio.move_on_after(GATHER_S):
                        await self._hurry.wait()
                    await self._write_all()
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(5):
                while self._being_written is not None or self._batch.changes:
                    await self._write_all()

    async def _write_all(self) -> None:
        batch = self._being_written  # of a try that was cancelled, before it was written
        if batch is None:
            batch, self._batch = self._batch, _Batch()
            self._being_written = batch
            self._noted, self._hurry = trio.Event(), trio.Event()
        while True:
            try:
                await self._healing(partial(self._write, batch), self._writing)
                break
            except SwarmError as error:
                if self._problem is None:
                    _log.error("jobs cannot be written down: %s", error)
                self._problem = error
                self._wake()
                await trio.sleep(RETRY_S)
        self._problem = self._being_written = None
        self._unwritten_bytes -= batch.size_bytes
        batch.written.set()
        for on_kept in batch.on_kept:
            on_kept()
        self._wake()

    def _write(self, batch: _Batch) -> None:
        rows = []
        for job_id, chunk, why in batch.forming:
            kept = replace(chunk, why=why()) if why is not None else chunk
            rows.append(
                (
                    *(kept.peer, bytes.fromhex(kept.receipt), kept.items, kept.first_index, kept.price_microcredits),
                    *(kept.service_us, kept.elapsed_us, kept.answered_us),
                    *(None if kept.why is None else json.dumps(dict(kept.why)), job_id),
                )
            )
        self.files.writer.write([*batch.changes, (sql.CHUNK, rows)])

    async def _healing(self, use: Callable[[], T], limiter: trio.CapacityLimiter) -> T:
        """Use the files in a thread; if they turn out to be damaged, mend them first, and try once more."""
        healed = self.files.healed
        try:
            return await trio.to_thread.run_sync(use, limiter=limiter)
        except DamagedFileError as error:
            async with self._writing, self._reading:  # nobody has them open meanwhile
                if self.files.healed == healed:  # else somebody else met the same damage, and mended it
                    await trio.to_thread.run_sync(self.files.heal, error)
        return await trio.to_thread.run_sync(use, limiter=limiter)

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _prune(self) -> None:
        older_than_us = self._older_than_us()

        def prune() -> bool:
            return self.files.writer.prune_once(older_than_us=older_than_us, keep_bytes=self._keeping.size_bytes)

        try:
            while await self._healing(prune, self._writing):
                if self._noted.is_set():
                    await self._write_all()
        except SwarmError as error:
            _log.warning("old jobs were not removed: %s", error)

    def _older_than_us(self) -> int:
        """Return when jobs ended that are too old now: a clock that was set forward makes none old before its time."""
        keep_us = round(self._keeping.days * 86_400e6)
        if self._clock.monotonic_us() - self._began_us < min(self._keeping.clock_patience_s * 1e6, keep_us):
            return 0
        return min(self._clock.unix_us(), self._steady.unix_us()) - keep_us

    # -- reading ----------------------------------------------------------------------------------------------

    async def job(self, job_id: str) -> JobRecord | None:
        """See `Journal`."""
        return await self._read(lambda reader: reader.job(job_id))

    async def jobs_beginning(self, start: str) -> list[JobRecord]:
        """See `Journal`."""
        return await self._read(lambda reader: reader.jobs_beginning(start))

    async def jobs(self, limit: int) -> list[JobRecord]:
        """See `Journal`."""
        return await self._read(lambda reader: reader.jobs(limit))

    async def chunks(self, job_id: str, limit: int) -> list[AnsweredChunk]:
        """See `Journal`."""
        return await self._read(lambda reader: reader.chunks(job_id, limit))

    async def digests(self, job_id: str, first_index: int, count: int) -> bytes:
        """See `Journal`."""
        return await self._read(lambda reader: reader.digests(job_id, first_index, count))

    async def answered_bits(self, job_id: str, items: int) -> bytearray:
        """See `Journal`."""
        return await self._read(lambda reader: reader.answered_bits(job_id, items))

    async def results(self, job_id: str, first_index: int, *, count: int, size_bytes: int) -> list[ItemResult]:
        """See `Journal`."""
        return await self._read(lambda reader: reader.results(job_id, first_index, count, size_bytes))

    async def shortcomings(self, job_id: str) -> Shortcomings:
        """See `Journal`."""
        return await self._read(lambda reader: reader.shortcomings(job_id))

    async def owed(self) -> list[TaskTerms]:
        """See `Journal`."""
        return await self._read(lambda reader: reader.owed())

    async def _read(self, query: Callable[[JournalFile], T]) -> T:
        return await self._healing(lambda: self.files.read(query), self._reading)


def _counts(job_id: str, counts: Counts) -> Change:
    row = (counts.items_fed, counts.items_answered, counts.input_ended, counts.spent_microcredits, job_id)
    return sql.COUNTS, [row]


@asynccontextmanager
async def open_journal(
    path: Path, keeping: Keeping | None = None, clock: Clock | None = None
) -> AsyncIterator[SqliteJournal]:
    """Open, and at the end close, the journal at `path`; a damaged one is mended (see `JournalFiles`).

    Raises ConfigurationError that says what to do about a file that is not a journal, or one of a newer version.
    """
    files = await trio.to_thread.run_sync(JournalFiles, path)
    try:
        journal = SqliteJournal(files, keeping or Keeping(), clock or SystemClock())
        async with trio.open_nursery() as nursery:
            await nursery.start(journal.run)
            yield journal
            nursery.cancel_scope.cancel()
    finally:
        files.close()


def read_jobs(path: Path, limit: int) -> list[JobRecord]:
    """Return the newest jobs of a journal that no node uses; raises UnavailableError if there is none.

    One of an earlier release is brought up to date, as a node would.
    """
    if not path.exists():
        raise UnavailableError(f"there is no journal of jobs at {path}")
    journal = JournalFile(path)
    try:
        return journal.jobs(limit)
    finally:
        journal.close()
