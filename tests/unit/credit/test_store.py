"""The contract of `ReceiptStore`, run against every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmharness.credit.chain import Place
from swarmharness.credit.receipt import ZERO_DIGEST, Receipt, body_digest
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.store import MemoryReceiptStore, ReceiptStore
from swarmharness.identity import Identity
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, receipt


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReceiptStore]:
    if request.param == "memory":
        yield MemoryReceiptStore()
        return
    async with open_sqlite_store(tmp_path / "credit.db", owner=ALICE.peer_id, unix_us=NOON_US) as opened:
        yield opened


async def test_an_empty_store_knows_nothing(store: ReceiptStore) -> None:
    assert await store.head(ALICE.peer_id) is None
    assert await store.entry(ZERO_DIGEST) is None
    assert await store.history(ALICE.peer_id, limit=9) == []
    assert (await store.balance(ALICE.peer_id)).as_dict()["receipts"] == 0


async def test_an_entry_comes_back_as_it_was(store: ReceiptStore) -> None:
    kept = entry(receipt())
    await store.commit([kept])
    assert await store.entry(body_digest(kept.body)) == kept


async def test_a_half_entry_gains_its_other_half(store: ReceiptStore) -> None:
    made = receipt()
    await store.commit([entry(made, worker=False)])
    assert (await store.balance(ALICE.peer_id)).half_entries == 1
    await store.commit([entry(made, requester=False, stored_us=NOON_US + 5)])
    assert await store.entry(body_digest(made.body)) == entry(made)
    balance = await store.balance(ALICE.peer_id)
    assert (balance.spent_microcredits, balance.half_entries) == (1_001, 0)


async def test_the_same_receipt_again_changes_nothing_c_3(store: ReceiptStore) -> None:
    for _ in range(3):
        await store.commit([entry(receipt()), entry(receipt())])
    assert (await store.balance(BOB.peer_id)).earned_microcredits == 1_001
    assert len(await store.history(BOB.peer_id, limit=9)) == 1


async def test_a_body_signed_twice_by_one_party_counts_once_and_not_as_both_halves(store: ReceiptStore) -> None:
    made = body()
    first = half(made, ALICE)
    again = half(made, ALICE, first)
    kept = Receipt(made, again, half(made, BOB))
    await store.commit([entry(kept, worker=False)])
    await store.commit([entry(Receipt(made, first, first), worker=False)])
    found = await store.entry(body_digest(made))
    assert found is not None
    assert found.receipt is None
    assert found.requester_half == first, "the earlier one, whatever the order of arrival"
    await store.commit([entry(kept)])
    assert (await store.balance(ALICE.peer_id)).spent_microcredits == 1_001


async def test_the_head_is_the_highest_number_of_the_highest_incarnation(store: ReceiptStore) -> None:
    old = [half(body(number), ALICE, place=Place(1, number, b"p" * 32)) for number in (1, 2)]
    new = half(body(3), ALICE, place=Place(2, 0, ZERO_DIGEST))
    for made, signed in ((body(3), new), (body(1), old[0]), (body(2), old[1])):
        await store.commit([entry(Receipt(made, signed, signed), worker=False)])
    assert await store.head(ALICE.peer_id) == new
    assert await store.head(BOB.peer_id) is None


async def test_unfinished_entries_are_the_requesters_own_without_an_answer(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(1), worker=False, stored_us=1)])
    await store.commit([entry(receipt(2)), entry(receipt(3), worker=False, stored_us=3)])
    await store.commit([entry(receipt(4), worker=False, stored_us=4), entry(receipt(5), requester=False, stored_us=5)])
    await store.commit([entry(receipt(6, BOB, ALICE), worker=False, stored_us=6)])
    found = await store.unfinished(ALICE.peer_id, stored_after_us=1, limit=9)
    assert found == [entry(receipt(4), worker=False, stored_us=4), entry(receipt(3), worker=False, stored_us=3)]
    assert len(await store.unfinished(ALICE.peer_id, stored_after_us=1, limit=1)) == 1


async def test_balances_count_both_directions_and_only_receipts_s_2(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(1)), entry(receipt(2, BOB, ALICE)), entry(receipt(3, CAROL, ALICE))])
    await store.commit([entry(receipt(4, CAROL, ALICE), worker=False), entry(receipt(5, BOB, CAROL))])
    shown = (await store.balance(ALICE.peer_id)).as_dict()
    assert (shown["earned_microcredits"], shown["spent_microcredits"]) == (2_005, 1_001)
    assert (shown["receipts"], shown["half_entries"]) == (3, 1)
    assert [peer["peer_id"] for peer in shown["by_peer"]] == [BOB.peer_id, CAROL.peer_id]


async def test_history_is_newest_first_and_only_of_the_peer(store: ReceiptStore) -> None:
    for number in range(1, 6):
        await store.commit([entry(receipt(number, requester_of(number), BOB))])
    numbers = [found.body.tasks[0][-1] for found in await store.history(ALICE.peer_id, limit=2)]
    assert numbers == [5, 3]


def requester_of(number: int) -> Identity:
    return ALICE if number % 2 else CAROL
