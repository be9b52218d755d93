"""A damaged journal is set aside and mended, at the start or while it is used; what can be read of it is kept."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from swarmharness.errors import DamagedFileError, UnavailableError
from swarmharness.jobs.journal import UNKNOWN_DIGEST, Counts, ItemResult, JobState, Journal, input_digest
from swarmharness.jobs.journal_file import JournalFile
from swarmharness.jobs.journal_files import JournalFiles
from swarmharness.jobs.journal_salvage import salvage
from swarmharness.jobs.sqlite_journal import open_journal
from tests.unit.jobs.test_journal import CHUNK, JOB, TERMS, counts, result

JOBS, ITEMS = 4, 400
PAGE_BYTES = 4096
FIRST_LEAF = 12
"""Behind the roots: what hangs from a root that is gone is out of reach."""


def answer(job: int, index: int) -> ItemResult:
    return result(index, f"{job}:{index} ".encode() * 4)


async def fill(path: Path) -> None:
    async with open_journal(path) as journal:
        for job in range(JOBS):
            name = f"j{job}"
            journal.begin(replace(JOB, job_id=name))
            for first in range(0, ITEMS, 50):
                batch = range(first, first + 50)
                digests = b"".join(input_digest(b"%d" % index) for index in batch)
                fed = Counts(first + 50, first, False, 0)
                journal.fed(name, first, digests, fed)
                terms = replace(TERMS, task=bytes([job, first % 251]) * 8)
                answers = [answer(job, index) for index in batch]
                journal.answered(name, answers, CHUNK, terms, counts(first + 50, first + 50), lambda: None)


def flip(path: Path, pages: list[int], seed: int) -> None:
    """Overwrite pages of a file, as a dying disk does."""
    chance = random.Random(seed)
    with path.open("r+b") as file:
        for page in pages:
            file.seek(page * PAGE_BYTES)
            file.write(chance.randbytes(PAGE_BYTES))


def set_aside(path: Path) -> list[Path]:
    return [found for found in path.parent.glob(f"{path.name}.damaged-*") if not found.name.endswith(("-wal", "-shm"))]


async def what_is_left(path: Path) -> int:
    """Check everything that a mended journal holds, and return how many answers those are."""
    found = 0
    async with open_journal(path) as journal:
        for record in await journal.jobs(100):
            if record.job_id == "new":
                continue
            job = int(record.job_id.removeprefix("j"))
            assert record.options == JOB.options
            bits = await journal.answered_bits(record.job_id, ITEMS)
            for index in range(ITEMS):
                if bits[index >> 3] & 1 << (index & 7):
                    (kept,) = await journal.results(record.job_id, index, count=1, size_bytes=1)
                    assert kept == answer(job, index)
                    found += 1
            digests = await journal.digests(record.job_id, 0, ITEMS)
            expected = b"".join(input_digest(b"%d" % index) for index in range(ITEMS))
            for place in range(0, len(expected), 8):
                assert digests[place : place + 8] in (expected[place : place + 8], UNKNOWN_DIGEST)
    return found


@pytest.mark.parametrize("seed", range(8))
async def test_flipped_pages_cost_what_was_on_them_and_nothing_else(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    pages = path.stat().st_size // PAGE_BYTES
    flip(path, random.Random(seed).sample(range(FIRST_LEAF, pages), 3), seed)
    async with open_journal(path) as journal:
        await read_all(journal)
        journal.begin(replace(JOB, job_id="new"))
        journal.end("new", JobState.DONE, "", 1, counts(0, 0))
        await journal.flush()
        assert (await journal.job("new")) is not None
    assert await what_is_left(path) > JOBS * ITEMS // 2, "three leaves do not cost most answers"


async def read_all(journal: Journal) -> None:
    for record in await journal.jobs(100):
        await journal.answered_bits(record.job_id, ITEMS)
        await journal.results(record.job_id, 0, count=ITEMS, size_bytes=2**30)
        await journal.digests(record.job_id, 0, ITEMS)
        await journal.chunks(record.job_id, 100)
    await journal.owed()


def crashed(path: Path, copy: Path) -> None:
    """Copy a journal that is open as a crash would leave it: much of it in the write-ahead log alone."""
    for suffix in ("", "-wal"):
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")


async def test_what_the_write_ahead_log_has_outlives_the_file_and_the_healing(tmp_path: Path) -> None:
    path, copy = tmp_path / "open.sqlite", tmp_path / "jobs.sqlite"
    await fill(path)
    late = [answer(0, ITEMS + index) for index in range(200)]
    async with open_journal(path) as journal:
        journal.answered("j0", late, CHUNK, TERMS, counts(ITEMS + 200, ITEMS + 200), lambda: None)
        await journal.flush()
        crashed(path, copy)
    pages = copy.stat().st_size // PAGE_BYTES
    flip(copy, list(range(pages // 2, pages // 2 + 3)), 1)
    async with open_journal(copy) as journal:
        await read_all(journal)
        assert await journal.results("j0", ITEMS, count=200, size_bytes=2**30) == late
    assert len(set_aside(copy)) == 1
    assert await what_is_left(copy) > JOBS * ITEMS // 2


async def test_what_is_read_out_of_a_damaged_file_leaves_it_and_its_log_as_they_were(tmp_path: Path) -> None:
    path, copy = tmp_path / "open.sqlite", tmp_path / "damaged.sqlite"
    async with open_journal(path) as journal:
        journal.begin(JOB)
        journal.answered("j1", [result(0)], CHUNK, TERMS, counts(1, 1), lambda: None)
        await journal.flush()
        crashed(path, copy)
    before = copy.read_bytes(), copy.with_name("damaged.sqlite-wal").read_bytes()
    into = JournalFile(tmp_path / "mended.sqlite")
    kept = salvage(copy, into)
    into.close()
    assert (kept["jobs"], kept["answers"]) == (1, 1)
    assert (copy.read_bytes(), copy.with_name("damaged.sqlite-wal").read_bytes()) == before


async def test_a_mended_journal_that_the_disk_does_not_take_whole_takes_nobody_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    flip(path, [path.stat().st_size // PAGE_BYTES // 2], 1)
    fold, limits = JournalFile.fold, resource.getrlimit(resource.RLIMIT_FSIZE)

    def full(self: JournalFile) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (PAGE_BYTES, limits[1]))
        try:
            fold(self)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    async with open_journal(path) as journal:
        monkeypatch.setattr(JournalFile, "fold", full)
        with pytest.raises(UnavailableError):
            await read_all(journal)
        assert not set_aside(path)
        monkeypatch.undo()
        await read_all(journal)
    assert len(set_aside(path)) == 1


async def test_a_damaged_log_is_not_moved_into_the_file_when_it_is_healed(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    files = JournalFiles(path)
    files.writer.write([("UPDATE answers SET verified = ?", [(1,)])])
    log = path.with_name("jobs.sqlite-wal")
    flip(log, list(range(1, log.stat().st_size // PAGE_BYTES)), 1)
    files.heal(DamagedFileError("a page of the log cannot be read"))
    files.close()
    assert await what_is_left(path) == JOBS * ITEMS


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda data: data[: len(data) // 2], True),
        (lambda data: b"", False),
        (lambda data: bytes(len(data)), False),
        (lambda data: b"this is not a database at all" * 100, False),
    ],
    ids=["truncated", "empty", "zeros", "something else"],
)
async def test_a_file_that_is_no_database_any_more_never_keeps_a_node_from_its_start(
    damage: Callable[[bytes], bytes], left: bool, tmp_path: Path
) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    path.write_bytes(damage(path.read_bytes()))
    async with open_journal(path) as journal:
        for record in await journal.jobs(100):
            await journal.results(record.job_id, 0, count=ITEMS, size_bytes=2**30)
        journal.begin(replace(JOB, job_id="new"))
        await journal.flush()
        assert await journal.job("new") is not None
    assert bool(set_aside(path)) == (path.stat().st_size > 0 and damage(b"x" * 8192) != b"")
    assert (await what_is_left(path) > 0) == left


async def test_what_is_noted_while_the_file_breaks_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    async with open_journal(path) as journal:
        assert len(await journal.jobs(100)) == JOBS
        flip(path, list(range(2, 14)), 1)  # under the node's feet, the roots too
        kept: list[str] = []
        journal.begin(replace(JOB, job_id="new"))
        journal.answered("new", [result(0)], CHUNK, TERMS, counts(1, 1), lambda: kept.append("it"))
        await journal.flush()
        assert kept == ["it"]
        assert await journal.results("new", 0, count=1, size_bytes=1) == [result(0)]
    assert len(set_aside(path)) == 1


async def test_a_disk_that_cannot_be_mended_now_costs_the_journal_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    flip(path, list(range(2, 14)), 1)
    full = True

    def rename(self: Path, target: Path) -> Path:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.rename(self, target)  # noqa: PTH104
        return target

    monkeypatch.setattr(Path, "rename", rename)
    async with open_journal(path) as journal:
        with pytest.raises(UnavailableError, match="cannot be mended now: No space left"):
            await journal.jobs(100)
        with pytest.raises(UnavailableError, match="cannot be mended now"):
            await journal.jobs(100)
        full = False
        await journal.jobs(100)
    assert len(set_aside(path)) == 1


async def test_a_healing_that_was_cut_off_at_its_last_step_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite"
    await fill(path)
    path.rename(path.with_name("jobs.sqlite.mending"))
    assert await what_is_left(path) == JOBS * ITEMS
