from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from swarmharness.errors import ConfigurationError
from swarmharness.identity import PeerId
from swarmharness.jobs.verification.policy import VerificationSettings
from swarmharness.jobs.verification.reputation import Reputation, whole
from swarmharness.jobs.verification.sqlite_reputations import MIGRATIONS, SqliteReputationStore
from swarmharness.jobs.verification.standings import MemoryReputationStore, Remembered, Standings
from swarmharness.registry.models import model_key
from swarmharness.routing.trust import Trust
from tests.unit.credit.builders import HandClock

EMBED = model_key("embed", bytes(32))
NOW = 1_700_000_000
ROW = Remembered("12D3KooWpeer", EMBED, Reputation(12, 1, NOW, NOW), Trust(5_000_000, 1_000_000))


async def test_what_was_learnt_outlives_the_process(tmp_path: Path) -> None:
    await SqliteReputationStore(tmp_path / "trust.sqlite").save([ROW], [])
    assert await SqliteReputationStore(tmp_path / "trust.sqlite").load() == [ROW]
    await SqliteReputationStore(tmp_path / "trust.sqlite").save([], [("12D3KooWpeer", EMBED)])
    assert await SqliteReputationStore(tmp_path / "trust.sqlite").load() == []


async def test_rows_that_cannot_be_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "trust.sqlite"
    store = SqliteReputationStore(path)
    await store.save([ROW], [])
    good = ("p", "s", bytes(32), 1, 0, 0, 0, 1, 1)
    bad = [
        ("p1", "s", bytes(32), -1, 0, 0, 0, 1, 1),
        ("p2", "s", bytes(32), "many", 0, 0, 0, 1, 1),
        ("p3", "s", bytes(32), 1.5, 0, 0, 0, 1, 1),
        ("p4", "s", bytes(32), 2**62, 0, 0, 0, 1, 1),
        ("p5", "s", bytes(32), 1, 0, 2**62, 0, 1, 1),
        ("p6", "s", bytes(32), 1, 0, 0, 0, 0, 0),
        ("", "s", bytes(32), 1, 0, 0, 0, 1, 1),
        (b"p7", "s", bytes(32), 1, 0, 0, 0, 1, 1),
        ("x" * 1000, "s", bytes(32), 1, 0, 0, 0, 1, 1),
        ("p8", "x" * 1000, bytes(32), 1, 0, 0, 0, 1, 1),
        ("p9", "s", bytes(31), 1, 0, 0, 0, 1, 1),
        ("p10", "s", "text", 1, 0, 0, 0, 1, 1),
    ]
    with sqlite3.connect(path) as connection:
        connection.executemany("INSERT INTO reputations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", [good, *bad])
    connection.close()
    assert {row.peer_id for row in await store.load()} == {"p", "12D3KooWpeer"}


async def test_a_damaged_file_is_set_aside_and_everybody_is_new(tmp_path: Path) -> None:
    path = tmp_path / "trust.sqlite"
    path.write_bytes(b"this is no database, and never was one" * 100)
    store = SqliteReputationStore(path)
    assert await store.load() == []
    assert [path.name for path in await trio.Path(tmp_path).glob("trust.sqlite.damaged-*")]
    await store.save([ROW], [])
    assert await store.load() == [ROW]


async def test_a_disk_that_fails_costs_only_memory(tmp_path: Path) -> None:
    standings = Standings(HandClock(), VerificationSettings(), SqliteReputationStore(tmp_path / "missing" / "t.sqlite"))
    standings.doubt(ROW.peer_id, ROW.model)  # type: ignore[arg-type]
    await standings.save()
    assert standings.get(ROW.peer_id, ROW.model).valid_in_a_row == 0


async def test_a_file_of_the_first_release_opens_with_all_that_was_known_of_each_skill(tmp_path: Path) -> None:
    path = tmp_path / "trust.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute(MIGRATIONS[0][0])
        connection.execute("INSERT INTO reputations VALUES ('p', 'embed', 12, 1, ?, ?, 5000000, 1000000)", (NOW, NOW))
    connection.close()
    store = SqliteReputationStore(path)
    skill = model_key("embed", b"")
    assert await store.load() == [Remembered("p", skill, Reputation(12, 1, NOW, NOW), Trust(5_000_000, 1_000_000))]
    await store.save([ROW], [])
    assert {row.model for row in await SqliteReputationStore(path).load()} == {skill, EMBED}


async def test_what_was_known_of_a_skill_is_taken_over_by_the_first_model_that_is_judged() -> None:
    clock = HandClock()
    now_s = clock.unix_us() // 1_000_000
    store = MemoryReputationStore()
    skill, other = model_key("embed", b""), model_key("embed", b"\1" * 32)
    old = Remembered("p", skill, Reputation(12, 1, 0, now_s), Trust(5_000_000, 1_000_000))
    await store.save([old], [])
    standings = Standings(clock, VerificationSettings(), store)
    await standings._load()
    assert standings.get("p", EMBED).valid_in_a_row == standings.get("p", other).valid_in_a_row == 12
    standings.valid(PeerId("p"), EMBED)
    assert standings.get("p", EMBED).valid_in_a_row == 13
    assert standings.get("p", other).valid_in_a_row == 0, "else one row would prove every model that comes along"
    assert standings.get("p", other).strikes == 1
    await standings.save()
    again = Standings(clock, VerificationSettings(), store)
    await again._load()
    assert again.get("p", EMBED).valid_in_a_row == 13
    assert again.get("p", other).valid_in_a_row == 0


async def test_a_file_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "trust.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigurationError, match="newer SwarmHarness"):
        await SqliteReputationStore(path).load()


async def test_setting_the_clock_moves_no_end_of_a_shunning() -> None:
    clock, store = HandClock(), MemoryReputationStore()
    peer, month_us = PeerId("12D3KooWpeer"), 30 * 86_400_000_000
    for ahead_us in (month_us, -month_us):
        clock.ahead_us = ahead_us
        standings = Standings(clock, VerificationSettings(shun_s=600), store)
        standings.invalid(peer, ROW.model, "wrong")
        clock.ahead_us = 0
        clock.now_us += 599_000_000
        assert standings.shunned(peer, ROW.model.skill)
        await standings.save()
        clock.now_us += 2_000_000
        assert not standings.shunned(peer, ROW.model.skill)
        row = store.rows[peer, whole(ROW.model)]
        assert row.reputation.shunned_until_s == clock.unix_us() // 1_000_000 - 1, "on disk by the clock of now"


async def test_what_was_kept_by_a_clock_that_was_ahead_shuns_for_no_longer_than_was_left() -> None:
    clock, store = HandClock(), MemoryReputationStore()
    now_s = clock.unix_us() // 1_000_000
    ahead = replace(
        ROW, model=whole(ROW.model), reputation=Reputation(0, 1, now_s + 30 * 86_400 + 600, now_s + 30 * 86_400)
    )
    await store.save([ahead], [])
    standings = Standings(clock, VerificationSettings(), store)
    async with trio.open_nursery() as nursery:
        await nursery.start(standings.run)
        assert standings.shunned(ROW.peer_id, ROW.model.skill)
        clock.now_us += 601_000_000
        assert not standings.shunned(ROW.peer_id, ROW.model.skill)
        nursery.cancel_scope.cancel()
