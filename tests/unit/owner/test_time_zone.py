"""The time zone of a machine that travels."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmharness.owner.ports import LocalTime
from swarmharness.owner.time_zone import SystemWallClock, zone_file

NOON_UNIX_S = 1_774_785_600  # 2026-03-29 12:00 UTC, a Sunday


@pytest.fixture(autouse=True)
def _own_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    time.tzset()


def zone(offset_s: int) -> bytes:
    """A zone file (RFC 9636, version 1) that never changes its offset."""
    head = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return head + struct.pack(">lBB", offset_s, 0, 0) + b"TST\0"


def test_the_wall_clock_follows_the_time_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, spring_unix_s = SystemWallClock(), 1_774_746_000  # 2026-03-29 01:00 UTC, a Sunday
    try:
        for zone, times in {
            "UTC0": [LocalTime(6, 59), LocalTime(6, 60)],
            # Central Europe, where 02:00 becomes 03:00 at that moment.
            "CET-1CEST,M3.5.0,M10.5.0/3": [LocalTime(6, 119), LocalTime(6, 180)],
        }.items():
            monkeypatch.setenv("TZ", zone)
            assert [wall.local(spring_unix_s - 1), wall.local(spring_unix_s)] == times
        assert wall.text(spring_unix_s, now_unix_s=spring_unix_s - 7200) == "03:00"
        assert wall.text(spring_unix_s, now_unix_s=spring_unix_s - 86_400) == "2026-03-29 03:00"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("prefix", ["", ":"])
def test_it_follows_a_zone_file_that_changes_while_the_node_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    path = tmp_path / "localtime"
    monkeypatch.setenv("TZ", f"{prefix}{path}")
    wall = SystemWallClock()
    for hours in (0, 9, -5):
        new = tmp_path / "new"
        new.write_bytes(zone(hours * 3600))
        new.replace(path)
        assert wall.local(NOON_UNIX_S) == LocalTime(6, (12 + hours) * 60)
        assert wall.text(NOON_UNIX_S, now_unix_s=NOON_UNIX_S) == f"{12 + hours:02d}:00"


def test_a_zone_file_that_is_damaged_or_gone_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "localtime"
    monkeypatch.setenv("TZ", str(path))
    wall = SystemWallClock()
    path.write_bytes(b"no zone")
    assert wall.local(NOON_UNIX_S) == LocalTime(6, 720)
    path.write_bytes(zone(3600))
    assert wall.local(NOON_UNIX_S) == LocalTime(6, 780)
    path.unlink()
    assert wall.local(NOON_UNIX_S) == LocalTime(6, 720)


def test_what_describes_a_zone_by_itself_names_no_file() -> None:
    assert zone_file("") is None
    assert zone_file("CET-1CEST,M3.5.0,M10.5.0/3") is None


def test_a_zone_that_cannot_be_read_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = zone(3600).replace(b"TZif\0", b"TZif2")
    files = {"short": zone(3600)[:30], "no footer": second * 2, "open footer": second * 2 + b"\nCET-1"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for name in (*(str(tmp_path / name) for name in files), "x" * 300):
        monkeypatch.setenv("TZ", name)
        SystemWallClock().local(NOON_UNIX_S)
