from __future__ import annotations

from pathlib import Path

import pytest
import trio

from swarmharness.node import trace_file
from swarmharness.node.trace_file import TraceFile
from swarmharness.routing.trace import read_trace
from tests.unit.routing.traces import record

BIG = 2**30


async def written(file: TraceFile, numbers: range) -> None:
    """Add records and let them be written."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(file.run)
        for number in numbers:
            file.add(record(number, "a"))
        nursery.cancel_scope.cancel()  # what waits is written first


def times(path: Path) -> list[int]:
    with path.open() as lines:
        return [each.time_us for each in read_trace(lines, path.name).records]


async def test_records_are_appended_to_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    file, path = TraceFile(), tmp_path / "trace.jsonl"
    file.switch(path, bytes_max=BIG)
    await written(file, range(3))
    await written(file, range(3, 5))
    assert times(path) == [0, 1, 2, 3, 4]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_full_file_is_renamed_and_only_one_of_the_past_is_kept(tmp_path: Path) -> None:
    file, path = TraceFile(), tmp_path / "trace.jsonl"
    file.switch(path, bytes_max=1000)
    for number in range(4):
        await written(file, range(10 * number, 10 * number + 10))
    assert times(path) == list(range(30, 40))
    assert times(path.with_name("trace.jsonl.1")) == list(range(20, 30))
    assert not path.with_name("trace.jsonl.2").exists()


async def test_a_switch_takes_effect_at_once(tmp_path: Path) -> None:
    file = TraceFile()
    states = [file.recording]
    file.switch(tmp_path / "one", bytes_max=BIG)
    states.append(file.recording)
    await written(file, range(1))
    file.switch(tmp_path / "two", bytes_max=BIG)
    await written(file, range(1, 2))
    file.switch(None, bytes_max=BIG)
    assert [*states, file.recording] == [False, True, False]
    await written(file, range(2, 3))
    assert (times(tmp_path / "one"), times(tmp_path / "two")) == ([0], [1])


async def test_records_beyond_what_may_wait_are_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_file, "WAITING_MAX", 10)
    file, path = TraceFile(), tmp_path / "trace.jsonl"
    file.switch(path, bytes_max=BIG)
    await written(file, range(25))
    assert times(path) == list(range(10))
    assert file.dropped == 15


async def test_a_file_that_cannot_be_written_is_said_once_and_harms_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = TraceFile()
    file.switch(tmp_path / "no-such-folder" / "trace.jsonl", bytes_max=BIG)
    for _ in range(3):
        await written(file, range(2))
    assert file.dropped == 6
    assert caplog.text.count("cannot be written") == 1


async def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "trace.jsonl"
    target.write_text("precious")
    path.symlink_to(target)
    file = TraceFile()
    file.switch(path, bytes_max=BIG)
    await written(file, range(1))
    assert target.read_text() == "precious"
    assert file.dropped == 1
