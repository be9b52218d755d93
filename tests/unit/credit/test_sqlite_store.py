from __future__ import annotations

import logging
import sqlite3
import threading
from pathlib import Path

import pytest

from swarmharness.credit import sqlite_connection
from swarmharness.credit.chain import Floor
from swarmharness.credit.receipt import body_digest
from swarmharness.credit.sqlite_connection import MIGRATIONS
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.sqlite_store import PAUSE_S, QUICK_S, SLOW_PAUSE_S, open_sqlite_store
from swarmharness.errors import ConfigurationError, UnavailableError
from tests.unit.credit.builders import ALICE, BOB, entry, half, receipt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credit.db"


async def test_what_is_committed_survives_reopening(path: Path) -> None:
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        await store.commit([entry(receipt())])
        assert store.set_aside is None
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=2) as store:
        assert await store.entry(body_digest(receipt().body)) == entry(receipt())


async def test_a_commit_is_durable_and_off_the_event_loop(path: Path) -> None:
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        database = store._writer.connection
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("PRAGMA synchronous").fetchone() == (2,)
        threads: list[int] = []
        database.set_trace_callback(lambda _: threads.append(threading.get_ident()))
        await store.commit([entry(receipt())])
        assert threads
        assert threading.get_ident() not in threads


@pytest.mark.parametrize("damage", [b"this is not a database" * 100, None], ids=["no database", "a broken page"])
async def test_a_damaged_database_is_set_aside_and_a_new_one_started(
    path: Path, damage: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        await store.commit([entry(receipt(number)) for number in range(200)])
    overwrite(path, damage)
    with caplog.at_level(logging.WARNING):
        async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=77) as store:
            assert store.set_aside == path.with_name("credit.db.damaged-77")
            assert await store.head(ALICE.peer_id) is None
            await store.commit([entry(receipt(500))])
    assert "was damaged" in caplog.text
    assert "credit.db.damaged-77" in caplog.text
    assert path.with_name("credit.db.damaged-77").stat().st_size > 0


def overwrite(path: Path, damage: bytes | None) -> None:
    content = path.read_bytes()
    path.write_bytes(damage or content[:8192] + b"\xff" * 16384 + content[8192 + 16384 :])


async def test_a_full_disk_changes_nothing_and_says_so(path: Path) -> None:
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        await store.commit([entry(receipt(1))])
        database = store._writer.connection
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnavailableError, match="is full: free some space"):
            await store.commit([entry(receipt(number)) for number in range(2, 200)])
        database.execute(f"PRAGMA max_page_count = {pages * 100}")
        assert len(await store.history(ALICE.peer_id, limit=999)) == 1
        await store.commit([entry(receipt(2))])


async def test_two_halves_at_one_place_are_both_kept_as_evidence_c_15(path: Path) -> None:
    async with open_sqlite_store(path, owner=BOB.peer_id, unix_us=1) as store:
        await store.commit([entry(receipt(1)), entry(receipt(2))])  # both of Alice's open her chain
        assert len(store._writer._halves("signer = ?", ALICE.peer_id)) == 2


def test_a_newer_database_is_refused(path: Path) -> None:
    ReceiptFile(path).close()
    with sqlite3.connect(path) as database:
        database.execute("INSERT INTO migrations VALUES (99)")
    database.close()
    with pytest.raises(ConfigurationError, match="newer SwarmHarness"):
        ReceiptFile(path)


def test_an_older_database_is_migrated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ReceiptFile(path)
    file.commit([entry(receipt())])
    file.close()
    monkeypatch.setattr(sqlite_connection, "MIGRATIONS", (*MIGRATIONS, ("ALTER TABLE entries ADD COLUMN extra",)))
    file = ReceiptFile(path)
    assert file.entry(body_digest(receipt().body)) == entry(receipt())
    file.connection.execute("SELECT extra FROM entries")
    file.close()


def test_a_directory_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"nowhere/credit\.db cannot be used"):
        ReceiptFile(tmp_path / "nowhere" / "credit.db")


async def test_the_owner_is_remembered_and_replaced(path: Path) -> None:
    for owner in (ALICE, ALICE, BOB):
        async with open_sqlite_store(path, owner=owner.peer_id, unix_us=1):
            pass
        reader = ReceiptFile(path, read_only=True)
        assert reader.owner() == owner.peer_id
        reader.close()


def test_the_half_order_in_a_file_is_that_of_the_chain(path: Path) -> None:
    file = ReceiptFile(path)
    first = half(receipt(1).body, ALICE)
    second = half(receipt(2).body, ALICE, first)
    for number, made in ((2, second), (1, first)):
        kept = receipt(number)
        file.commit([entry(type(kept)(kept.body, made, made), worker=False)])
    assert file.head(ALICE.peer_id) == second
    file.close()


async def test_a_commit_in_ones_own_time_is_paused_in_a_crowd_and_after_a_slow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 100.0
    monkeypatch.setattr("swarmharness.credit.sqlite_store.time.monotonic", lambda: now_s)
    async with open_sqlite_store(tmp_path / "credit.db", owner=ALICE.peer_id, unix_us=1) as store:
        assert store.quick(durable=True)
        assert store.commit_now([entry(receipt(1))], durable=True) == ()
        assert not store.quick(durable=True)
        assert store.quick(durable=False)
        now_s += PAUSE_S
        assert store.quick(durable=True)
        now_s += 1
        times = iter((now_s, now_s + 2 * QUICK_S))
        monkeypatch.setattr("swarmharness.credit.sqlite_store.time.monotonic", lambda: next(times))
        store.commit_now([entry(receipt(2, BOB, ALICE))], durable=True)
        now_s += SLOW_PAUSE_S
        monkeypatch.setattr("swarmharness.credit.sqlite_store.time.monotonic", lambda: now_s)
        assert not store.quick(durable=True)
        now_s += 2 * QUICK_S
        assert store.quick(durable=True)
        assert len((await store.balance(ALICE.peer_id)).by_peer) == 1


async def test_what_is_lightly_committed_is_there_for_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "credit.db"
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        await store.commit([entry(receipt(), worker=False)])
        await store.commit_lightly([entry(receipt(), requester=False)])
        reader = ReceiptFile(path, read_only=True)
        assert reader.balance(ALICE.peer_id).half_entries == 0
        reader.close()
        mode = store._writer.connection.execute("PRAGMA synchronous").fetchone()[0]
        await store.commit([entry(receipt(2, BOB, ALICE))])
        assert (mode, store._writer.connection.execute("PRAGMA synchronous").fetchone()[0]) == (1, 2)


async def test_a_copied_file_is_told_from_the_one_of_the_last_start(tmp_path: Path) -> None:
    path, backup = tmp_path / "credit.db", tmp_path / "backup.db"
    for _ in range(2):
        async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
            assert not store.moved
    backup.write_bytes(path.read_bytes())
    backup.replace(path)
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:
        assert store.moved
        assert store.interrupted


async def test_a_database_that_is_set_aside_is_succeeded_by_a_sealed_one(tmp_path: Path) -> None:
    path = tmp_path / "credit.db"
    path.write_bytes(b"this is no database" * 1_000)
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=123) as store:
        assert store.set_aside is not None
        assert await store.sealed() == 123


async def test_a_loss_of_power_is_told_from_a_killed_process_and_is_remembered_until_a_floor_is_set_c_17(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(boot: str) -> ReceiptFile:
        file = ReceiptFile(path)
        file.settle_in(boot)
        return file

    start("one").close()  # without `settle_out`: the process was killed
    killed = start("one")
    assert not killed.interrupted
    killed.settle_out()
    killed.close()
    assert not start("two").interrupted, "it was closed before the machine was restarted"
    for _ in range(2):
        assert start("three").interrupted, "now it was not, and nothing has been done about it"
    file = start("four")
    file.settle_out()
    assert start("four").interrupted
    file.set_floor(Floor(7, 8))
    assert not file.interrupted
    assert not start("four").interrupted
    assert file.floor() == Floor(7, 8)


async def test_a_store_that_is_closed_in_order_is_not_interrupted_wherever_it_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swarmharness.credit.sqlite_store._BOOT_ID", tmp_path / "not on this system")
    for start in range(2):
        async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=start) as store:
            assert not store.interrupted


async def test_damage_found_while_the_store_is_used_is_nobody_s_bad_input(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A requester drops a settlement for bad input, and tries it again where a node cannot do it now."""
    async with open_sqlite_store(path, owner=ALICE.peer_id, unix_us=1) as store:

        def damaged(*_: object, **__: object) -> None:
            raise store._writer.damaged("a page cannot be read")

        for file, name in ((store._writer, "commit"), (store._reader, "entry")):
            monkeypatch.setattr(file, name, damaged)
        with pytest.raises(UnavailableError, match="start the node again, which sets it aside"):
            await store.commit([entry(receipt())])
        with pytest.raises(UnavailableError, match="start the node again"):
            store.commit_now([entry(receipt())], durable=True)
        with pytest.raises(UnavailableError, match="start the node again"):
            await store.entry(body_digest(receipt().body))
        assert "a page cannot be read" in store.health.problem
