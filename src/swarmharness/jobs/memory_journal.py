"""`Journal` in memory, the twin of the one on disk: for tests, and for nodes whose jobs need not survive them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from swarmharness.credit.terms import TaskTerms
from swarmharness.jobs.journal import DIGEST_BYTES, AnsweredChunk, Counts, ItemResult, JobRecord, JobState, Shortcomings


@dataclass(slots=True)
class _Kept:
    record: JobRecord
    digests: bytearray = field(default_factory=bytearray)
    results: dict[int, ItemResult] = field(default_factory=dict)
    chunks: list[AnsweredChunk] = field(default_factory=list)


class MemoryJournal:
    """See `Journal`. With `held`, nothing is kept before `flush`, as if the disk were slow; `lose` is a crash."""

    def __init__(self, *, held: bool = False) -> None:
        self.held = held
        self._jobs: dict[str, _Kept] = {}
        self._owed: dict[bytes, TaskTerms] = {}
        self._noted: list[Callable[[], None]] = []

    @property
    def problem(self) -> str:
        """See `Journal`."""
        return ""

    def lose(self) -> None:
        """Forget what was noted and not kept, as the death of the process does."""
        self._noted.clear()

    def _note(self, change: Callable[[], None]) -> None:
        self._noted.append(change)
        if not self.held:
            self._keep()

    def _keep(self) -> None:
        noted, self._noted = self._noted, []
        for change in noted:
            change()

    # -- noting -----------------------------------------------------------------------------------------------

    def begin(self, record: JobRecord) -> None:
        """See `Journal`."""
        self._note(lambda: self._jobs.update({record.job_id: _Kept(record)}))

    def begin_again(self, record: JobRecord) -> None:
        """See `Journal`."""

        def change() -> None:
            kept = self._jobs[record.job_id]
            opened = replace(kept.record, options=record.options, deadline_s=record.deadline_s, out=record.out)
            kept.record = replace(opened, state=JobState.OPEN, reason="", ended_us=0)

        self._note(change)

    def fed(self, job_id: str, first_index: int, digests: bytes, counts: Counts) -> None:
        """See `Journal`."""

        def change() -> None:
            kept = self._jobs[job_id]
            kept.digests[first_index * DIGEST_BYTES :] = digests
            self._count(job_id, counts)

        self._note(change)

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

        def change() -> None:
            kept = self._jobs[job_id]
            kept.results.update((result.index, result) for result in results)
            if chunk is not None:
                kept.chunks.append(chunk if why is None else replace(chunk, why=why()))
            if owed is not None:
                self._owed[owed.task] = owed
            self._count(job_id, counts)
            on_kept()

        self._note(change)

    def voided(self, job_id: str, indices: Sequence[int], receipts: Sequence[str], counts: Counts) -> None:
        """See `Journal`."""

        def change() -> None:
            for index in indices:
                self._jobs[job_id].results.pop(index, None)
            for receipt in receipts:
                self._owed.pop(bytes.fromhex(receipt), None)
            self._count(job_id, counts)

        self._note(change)

    def settled(self, tasks: Iterable[bytes]) -> None:
        """See `Journal`."""
        gone = tuple(tasks)

        def change() -> None:
            for task in gone:
                self._owed.pop(task, None)

        self._note(change)

    def end(self, job_id: str, state: JobState, reason: str, ended_us: int, counts: Counts) -> None:
        """See `Journal`."""

        def change() -> None:
            self._count(job_id, counts)
            kept = self._jobs[job_id]
            kept.record = replace(kept.record, state=state, reason=reason, ended_us=ended_us)

        self._note(change)

    def cancel(self, record: JobRecord, ended_us: int) -> None:
        """See `Journal`."""
        counts = Counts(record.items_fed, record.items_answered, record.input_ended, record.spent_microcredits)
        self.end(record.job_id, JobState.CANCELLED, "the job was cancelled", ended_us, counts)

    def _count(self, job_id: str, counts: Counts) -> None:
        kept = self._jobs[job_id]
        kept.record = replace(
            kept.record,
            items_fed=counts.items_fed,
            items_answered=counts.items_answered,
            input_ended=counts.input_ended,
            spent_microcredits=counts.spent_microcredits,
        )

    async def room(self) -> None:
        """See `Journal`."""
        await trio.lowlevel.checkpoint()

    async def flush(self) -> None:
        """See `Journal`."""
        await trio.lowlevel.checkpoint()
        self._keep()

    # -- reading ----------------------------------------------------------------------------------------------

    async def job(self, job_id: str) -> JobRecord | None:
        """See `Journal`."""
        kept = self._jobs.get(job_id)
        return None if kept is None else kept.record

    async def jobs_beginning(self, start: str) -> list[JobRecord]:
        """See `Journal`."""
        return [kept.record for job_id, kept in self._jobs.items() if job_id.startswith(start)][:5]

    async def jobs(self, limit: int) -> list[JobRecord]:
        """See `Journal`."""
        return [kept.record for kept in reversed(self._jobs.values())][:limit]

    async def chunks(self, job_id: str, limit: int) -> list[AnsweredChunk]:
        """See `Journal`."""
        return self._jobs[job_id].chunks[::-1][:limit]

    async def digests(self, job_id: str, first_index: int, count: int) -> bytes:
        """See `Journal`."""
        await trio.lowlevel.checkpoint()
        return bytes(self._jobs[job_id].digests[first_index * DIGEST_BYTES : (first_index + count) * DIGEST_BYTES])

    async def answered_bits(self, job_id: str, items: int) -> bytearray:
        """See `Journal`."""
        bits = bytearray((items + 7) // 8)
        for index in self._jobs[job_id].results:
            bits[index >> 3] |= 1 << (index & 7)
        return bits

    async def results(self, job_id: str, first_index: int, *, count: int, size_bytes: int) -> list[ItemResult]:
        """See `Journal`."""
        found: list[ItemResult] = []
        for index in range(first_index, first_index + count):
            result = self._jobs[job_id].results.get(index)
            size_bytes -= 0 if result is None else len(result.output)
            if result is None or (found and size_bytes < 0):
                break
            found.append(result)
        return found

    async def shortcomings(self, job_id: str) -> Shortcomings:
        """See `Journal`."""
        results = self._jobs[job_id].results.values()
        failed, truncated = (result.error_kind is not None for result in results), (each.truncated for each in results)
        return Shortcomings(sum(failed), sum(truncated))

    async def owed(self) -> list[TaskTerms]:
        """See `Journal`."""
        return list(self._owed.values())
