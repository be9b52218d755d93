"""Both journals keep what is noted; the one on disk keeps it through crashes, and says what is wrong with its file."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import ConfigurationError, DamagedFileError, ErrorKind, UnavailableError
from swarmharness.jobs.context import JobOptions
from swarmharness.jobs.journal import (
    AnsweredChunk,
    Counts,
    ItemResult,
    JobRecord,
    JobState,
    Journal,
    Shortcomings,
    input_digest,
)
from swarmharness.jobs.journal_file import APPLICATION_ID, MIGRATIONS, Change
from swarmharness.jobs.memory_journal import MemoryJournal
from swarmharness.jobs.sqlite_journal import Keeping, open_journal, read_jobs
from tests.unit.credit.builders import HandClock

JOB = JobRecord(
    *("j1", "echo", "tensor", JobOptions("none", 2, 1000), 60.0, {"files": ["a", "b"]}, "/o"),
    created_us=5,
    model_digest=b"m" * 32,
)
TERMS = TaskTerms(b"t" * 16, "alice", "bob", 7, 30, b"m" * 32, b"i" * 32, b"o" * 32, "echo", 3, 9)


def result(index: int, output: bytes = b"out") -> ItemResult:
    return ItemResult(index, output, "", None, "bob", 3, "ab" * 16)


def counts(fed: int, answered: int) -> Counts:
    return Counts(fed, answered, False, 10 * answered)


CHUNK = AnsweredChunk("bob", "ab" * 16, 3, 0, 30, 9, 12, 77)


@asynccontextmanager
async def opened(kind: str, path: Path) -> AsyncIterator[Journal]:
    if kind == "memory":
        yield MemoryJournal()
    else:
        async with open_journal(path / "jobs.sqlite") as journal:
            yield journal


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_what_is_noted_can_be_read_after_a_flush(kind: str, tmp_path: Path) -> None:
    kept: list[str] = []
    async with opened(kind, tmp_path) as journal:
        journal.begin(JOB)
        journal.begin(replace(JOB, job_id="other"))
        digests = b"".join(input_digest(bytes([number])) for number in range(6))
        journal.fed("j1", 0, digests[:24], counts(3, 0))
        journal.fed("j1", 3, digests[24:], counts(6, 0))
        results = [
            result(0),
            result(1, b"x" * 10),
            replace(result(4), output=b"", error="bad", error_kind=ErrorKind.INPUT, flags=2),
        ]
        why = {"chosen": "bob"}
        journal.answered("j1", results, CHUNK, TERMS, counts(6, 3), lambda: kept.append("first"), why=lambda: why)
        await journal.flush()
        assert kept == ["first"]
        record = await journal.job("j1")
        assert record == replace(JOB, items_fed=6, items_answered=3, spent_microcredits=30)
        assert [job.job_id for job in await journal.jobs(10)] == ["other", "j1"]
        assert [job.job_id for job in await journal.jobs_beginning("j")] == ["j1"]
        assert await journal.digests("j1", 2, 3) == digests[16:40]
        assert await journal.answered_bits("j1", 6) == bytearray([0b010011])
        assert await journal.results("j1", 0, count=10, size_bytes=1000) == results[:2]
        assert await journal.results("j1", 0, count=10, size_bytes=5) == results[:1]
        assert await journal.results("j1", 4, count=10, size_bytes=0) == results[2:]
        assert await journal.results("other", 0, count=10, size_bytes=1000) == []
        assert await journal.chunks("j1", 5) == [replace(CHUNK, why=why)]
        assert await journal.owed() == [TERMS]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_errors_and_truncated_items_are_counted_and_parameters_are_kept(kind: str, tmp_path: Path) -> None:
    options = JobOptions("none", 2, 1000, parameters=b"\x81\xa7on_long\xa5error")
    async with opened(kind, tmp_path) as journal:
        for job in ("j1", "other"):
            journal.begin(replace(JOB, job_id=job, options=options))
        found = [replace(result(index), flags=index % 4) for index in range(12)]
        failed = [replace(result(12), output=b"", error="bad", error_kind=ErrorKind.INPUT)]
        journal.answered("j1", found + failed, CHUNK, TERMS, counts(13, 13), lambda: None)
        await journal.flush()
        assert await journal.results("j1", 0, count=12, size_bytes=1000) == found
        assert await journal.shortcomings("j1") == Shortcomings(1, 6)
        journal.voided("j1", [1, 12], [], counts(13, 11))
        await journal.flush()
        assert await journal.shortcomings("j1") == Shortcomings(0, 5)
        assert await journal.shortcomings("other") == Shortcomings()
        record = await journal.job("j1")
        assert record is not None
        assert record.options == options
        assert record.as_dict()["parameters"] == {"on_long": "error"}


async def test_counting_errors_reads_only_these(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "jobs.sqlite") as journal:
        plan = await journal._read(
            lambda reader: reader.connection.execute(
                "EXPLAIN QUERY PLAN SELECT count(kind), total(flags & 1 <> 0) FROM answers"
                " WHERE (kind IS NOT NULL OR flags <> 0) AND id >= 1 AND id < 9"
            ).fetchall()
        )
        assert "COVERING INDEX answers_short" in str(plan)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_answers_that_are_voided_are_neither_kept_nor_owed(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as journal:
        journal.begin(JOB)
        terms = replace(TERMS, task=bytes.fromhex("ab" * 16))
        journal.answered("j1", [result(0), result(1)], CHUNK, terms, counts(2, 2), lambda: None)
        journal.voided("j1", [1], ["ab" * 16], counts(2, 1))
        await journal.flush()
        assert await journal.owed() == []
        assert await journal.answered_bits("j1", 2) == bytearray([0b01])


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_job_that_ended_can_begin_again(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as journal:
        journal.begin(JOB)
        journal.end("j1", JobState.BUDGET, "too poor", 99, counts(2, 1))
        await journal.flush()
        ended = await journal.job("j1")
        assert ended is not None
        assert (ended.state, ended.reason, ended.ended_us, ended.items_answered) == (JobState.BUDGET, "too poor", 99, 1)
        journal.begin_again(replace(ended, options=JobOptions("none", 2, 5000), deadline_s=9.0, out="/p"))
        await journal.flush()
        again = await journal.job("j1")
        assert again is not None
        assert (again.state, again.reason, again.options.budget_microcredits) == (JobState.OPEN, "", 5000)
        assert (again.deadline_s, again.out, again.items_answered) == (9.0, "/p", 1)
        journal.cancel(again, 100)
        await journal.flush()
        cancelled = await journal.job("j1")
        assert cancelled is not None
        assert (cancelled.state, cancelled.items_answered) == (JobState.CANCELLED, 1)


async def test_many_notes_are_one_commit(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "jobs.sqlite") as journal:
        commits: list[int] = []
        write = journal.files.writer.write

        def counting(changes: Sequence[Change]) -> None:
            commits.append(len(changes))
            write(changes)

        journal.files.writer.write = counting  # type: ignore[method-assign]
        journal.begin(JOB)
        for index in range(100):
            journal.answered("j1", [result(index)], None, None, counts(100, index + 1), lambda: None)
        await journal.flush()
        assert len(commits) == 1


async def test_leaving_the_journal_writes_what_was_noted(tmp_path: Path) -> None:
    kept: list[int] = []
    async with open_journal(tmp_path / "jobs.sqlite") as journal:
        journal.begin(JOB)
        journal.answered("j1", [result(0)], None, None, counts(1, 1), lambda: kept.append(1))
    assert kept == [1]
    (record,) = read_jobs(tmp_path / "jobs.sqlite", 5)
    assert record.items_answered == 1


CRASH = """
import os, signal, sys, trio
from pathlib import Path
from tests.unit.jobs.test_journal import JOB, counts, result
from swarmharness.jobs.sqlite_journal import open_journal

async def main():
    async with open_journal(Path(sys.argv[1])) as journal:
        journal.begin(JOB)
        for index in range(10_000):
            # The index is printed once it is kept: a witness that does not depend on the journal.
            journal.answered("j1", [result(index)], None, None, counts(index + 1, index + 1),
                             lambda index=index: os.write(1, b"%d\\n" % index))
            if index % 10 == 0:
                await trio.sleep(0.001)
            if index == int(sys.argv[2]):
                os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


@pytest.mark.parametrize("moment", [40, 333, 1717])
async def test_what_was_said_to_be_kept_survives_a_kill(tmp_path: Path, moment: int) -> None:
    path = tmp_path / "jobs.sqlite"
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", CRASH, str(path), str(moment)]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, env=environment)
    assert done.returncode == -9, done.stderr
    witnessed = [int(line) for line in done.stdout.split()]
    async with open_journal(path) as journal:
        record = await journal.job("j1")
        bits = await journal.answered_bits("j1", moment + 1)
    kept = [index for index in range(moment + 1) if bits[index >> 3] >> (index & 7) & 1]
    if record is None:
        assert not witnessed
        return
    assert set(witnessed) <= set(kept)
    assert record.items_answered == len(kept), "counts and answers are written together"


def test_a_damaged_journal_stays_where_no_node_runs_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(DamagedFileError, match=r"jobs.sqlite is damaged .*start the node again, which sets it aside"):
        read_jobs(path, 1)
    assert path.read_bytes().startswith(b"this is not")


async def test_another_database_is_not_taken_for_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(ConfigurationError, match="another database: move it away"):
        await _open(path)


async def test_a_journal_of_a_newer_version_is_refused_and_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    await _open(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"newer SwarmHarness .*update SwarmHarness"):
        await _open(path)
    assert path.read_bytes() == before


async def _open(path: Path) -> None:
    async with open_journal(path):
        pass


def test_no_journal_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no journal"):
        read_jobs(tmp_path / "none.sqlite", 1)


async def test_old_ended_jobs_are_forgotten_and_open_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    async with open_journal(path) as journal:
        for name in ("old", "open"):
            journal.begin(replace(JOB, job_id=name))
            journal.answered(name, [result(0)], CHUNK, None, counts(1, 1), lambda: None)
        journal.end("old", JobState.DONE, "", 1, counts(1, 1))
    async with open_journal(path, Keeping(days=1.0, clock_patience_s=0)) as journal:
        with trio.fail_after(10):
            while len(await journal.jobs(10)) > 1:
                await trio.sleep(0.01)
        assert [job.job_id for job in await journal.jobs(10)] == ["open"]
        assert len(await journal.chunks("open", 5)) == 1


@pytest.mark.parametrize("set_right", [False, True])
async def test_a_clock_that_was_ahead_at_the_start_makes_no_job_old(tmp_path: Path, set_right: bool) -> None:
    path, clock = tmp_path / "jobs.sqlite", HandClock()
    async with open_journal(path, clock=clock) as journal:
        journal.begin(JOB)
        journal.end(JOB.job_id, JobState.DONE, "", clock.unix_us(), counts(1, 1))
    clock.ahead_us = 30 * 86_400_000_000
    async with open_journal(path, Keeping(days=1.0), clock) as journal:
        await journal._prune()
        clock.now_us += 3_600_000_000
        clock.ahead_us *= not set_right
        await journal._prune()
        assert len(await journal.jobs(10)) == set_right


async def test_a_clock_that_is_set_forward_makes_no_job_old(tmp_path: Path) -> None:
    clock = HandClock()
    async with open_journal(tmp_path / "jobs.sqlite", Keeping(days=1.0, clock_patience_s=0), clock) as journal:
        journal.begin(JOB)
        journal.end(JOB.job_id, JobState.DONE, "", clock.unix_us(), counts(1, 1))
        await journal.flush()
        clock.ahead_us = 30 * 86_400_000_000
        await journal._prune()
        assert len(await journal.jobs(10)) == 1
        clock.now_us += 86_400_000_001
        await journal._prune()
        assert await journal.jobs(10) == []


async def test_a_journal_that_grows_too_large_forgets_the_oldest_ended_jobs(tmp_path: Path) -> None:
    import time

    path, now_us = tmp_path / "jobs.sqlite", time.time_ns() // 1000
    async with open_journal(path) as journal:
        for number in range(4):
            journal.begin(replace(JOB, job_id=f"j{number}"))
            results = [result(index, bytes(100_000)) for index in range(20)]
            journal.answered(f"j{number}", results, None, None, counts(20, 20), lambda: None)
            journal.end(f"j{number}", JobState.DONE, "", now_us + number, counts(20, 20))
    async with open_journal(path, Keeping(size_bytes=5 * 2**20)) as journal:
        with trio.fail_after(10):
            while len(await journal.jobs(10)) > 2:
                await trio.sleep(0.01)
        assert [job.job_id for job in await journal.jobs(10)] == ["j3", "j2"]


async def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    async with open_journal(tmp_path / "jobs.sqlite") as journal:
        journal.begin(JOB)
        await journal.flush()
        write = journal.files.writer.write
        full = True

        def failing(changes: Sequence[Change]) -> None:
            if full:
                raise UnavailableError("the disk is full")
            write(changes)

        journal.files.writer.write = failing  # type: ignore[method-assign]
        journal.answered("j1", [result(0)], None, None, counts(1, 1), lambda: None)
        with pytest.raises(UnavailableError, match="full"):
            await journal.flush()
        full = False
        with trio.fail_after(10):
            while True:
                try:
                    await journal.flush()
                    break
                except UnavailableError:
                    await trio.sleep(0.05)
        assert await journal.answered_bits("j1", 1) == bytearray([1])


def test_a_journal_of_version_1_is_brought_up_to_date_with_its_jobs(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    with sqlite3.connect(path) as connection:
        for statement in MIGRATIONS[0]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        row = ("j1", "echo", "tensor", '{"verify": "none", "replicas": 2, "budget": 1000}', 60.0, '{"files": ["a"]}')
        connection.execute("INSERT INTO jobs VALUES (NULL, ?, ?, ?, ?, ?, ?, '/o', 5, 0, 'open', '', 3, 2, 1, 20)", row)
    connection.close()
    expected = replace(JOB, source={"files": ["a"]}, items_fed=3, items_answered=2, input_ended=True)
    assert read_jobs(path, 5) == [replace(expected, spent_microcredits=20, model_digest=b"")]
