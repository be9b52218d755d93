from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.books import CLAIMS_AT_ONCE, LOOK_S, Books
from swarmharness.credit.holds import STRANGERS, Hold
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import EPOCH_US, Half, body_digest
from swarmharness.credit.sqlite_store import open_sqlite_store
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, HandClock, entry, receipt

EPOCH = NOON_US // EPOCH_US


async def test_the_books_are_what_the_store_holds_however_much_it_is(tmp_path: Path) -> None:
    count = 2 * CLAIMS_AT_ONCE + 5
    one = receipt(1)
    many = [replace(one.body, tasks=(number.to_bytes(16, "big"),)) for number in range(9, 9 + count)]

    def relabelled(half: Half, number: int) -> Half:
        content = replace(half.content, body_digest=body_digest(many[number]), number=number)
        return replace(half, content=content)

    async with open_sqlite_store(tmp_path / "credit.db", owner=CAROL.peer_id, unix_us=1) as store:
        await store.commit(
            [
                Entry(body, relabelled(one.requester_half, at), relabelled(one.worker_half, at), 1)
                for at, body in enumerate(many)
            ]
        )
        async with trio.open_nursery() as inner:
            books = Books(store, CAROL.peer_id, HandClock())
            inner.start_soon(books.run)
            await books.ready.wait()
            assert books.ledger.standing(BOB.peer_id) == count * one.body.share_microcredits
            books.received([one])
            books.received([one])
            assert len(books.ledger) == count + 1
            inner.cancel_scope.cancel()


async def test_receipts_that_come_while_the_store_is_read_count_once(nursery: trio.Nursery) -> None:
    store = MemoryReceiptStore()
    await store.commit([entry(receipt(1))])
    books = Books(store, CAROL.peer_id, HandClock())
    books.received([receipt(1), receipt(2)])
    nursery.start_soon(books.run)
    await books.ready.wait()
    assert books.ledger.standing(BOB.peer_id) == 1_001 + 1_002
    assert sum(books.ledger.standings().values()) == 0


async def test_old_receipts_and_holds_are_forgotten_each_hour_without_changing_a_standing_c_8(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    store, clock = MemoryReceiptStore(), HandClock()
    await store.commit([entry(receipt(1)), entry(receipt(2, requester=CAROL)), entry(receipt(3, epoch=EPOCH + 9))])
    await store.keep_holds([Hold(STRANGERS, EPOCH, 5)])
    books = Books(store, CAROL.peer_id, clock, horizon_epochs=10)
    nursery.start_soon(books.run)
    await books.ready.wait()
    clock.now_us += 9 * EPOCH_US
    books.look()
    before = dict(books.ledger.standings())
    assert before[BOB.peer_id] == 1_001 // 10 + 1_002 // 10 + 1_003
    clock.now_us += 3 * EPOCH_US
    await trio.sleep(2 * LOOK_S)
    assert len(await store.claims(oldest_epoch=0)) == 2, "this node's own receipts are kept, and what is not due"
    assert await store.holds(oldest_epoch=0) == []
    assert books.ledger.standing(BOB.peer_id) == 1_003 * 7 // 10
    assert ALICE.peer_id in books.ledger.standings()
