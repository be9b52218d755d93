"""What spreading asks of a store; every store gives the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from swarmharness.credit.accounts import Entry
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import Half, Receipt, body_digest
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.store import ReceiptStore
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, receipt


@asynccontextmanager
async def opened(kind: str, folder: Path) -> AsyncIterator[ReceiptStore]:
    if kind == "memory":
        yield MemoryReceiptStore()
        return
    async with open_sqlite_store(folder / "credit.db", owner=ALICE.peer_id, unix_us=NOON_US) as store:
        yield store


def chain(count: int) -> list[Receipt]:
    """Receipts of Alice's chain, each with another half of Bob's that opens a chain of its own."""
    made: list[Receipt] = []
    last: Half | None = None
    for number in range(count):
        statement = body(number)
        last = half(statement, ALICE, last)
        made.append(Receipt(statement, last, half(statement, BOB)))
    return made


def digests(entries: list[Entry]) -> list[bytes]:
    return [body_digest(entry.body) for entry in entries]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_entries_are_found_by_digest_and_by_what_follows_a_place(kind: str, tmp_path: Path) -> None:
    made = chain(6)
    names = [body_digest(one.body) for one in made]
    incarnation = made[0].requester_half.content.incarnation
    async with opened(kind, tmp_path) as store:
        await store.commit([entry(made[number]) for number in (0, 1, 4)])
        await store.commit([entry(made[5], worker=False)])
        assert digests(await store.entries([names[4], names[3], names[0]])) == [names[4], names[0]]
        assert digests(await store.entries_after(ALICE.peer_id, incarnation, 0, limit=9)) == [names[1], names[4]]
        assert digests(await store.entries_after(ALICE.peer_id, 0, 0, limit=2)) == [names[0], names[1]]
        assert await store.entries_after(ALICE.peer_id, incarnation, 4, limit=9) == []  # half an entry is worth nothing
        assert await store.entries_after(CAROL.peer_id, 0, 0, limit=9) == []


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_heads_and_gaps_are_per_signer_and_incarnation(kind: str, tmp_path: Path) -> None:
    made = chain(5)
    incarnation = made[0].requester_half.content.incarnation
    async with opened(kind, tmp_path) as store:
        await store.commit([entry(made[number]) for number in (0, 1, 4)])
        assert await store.heads([CAROL.peer_id, ALICE.peer_id]) == [made[4].requester_half]
        places = [(ALICE.peer_id, incarnation, number) for number in (0, 2, 4, 9)]
        assert await store.known_below([*places, (ALICE.peer_id, incarnation + 1, 4)]) == [-1, 1, 1, 4, -1]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_pruned_places_are_forgotten(kind: str, tmp_path: Path) -> None:
    old, new = receipt(1, BOB, CAROL, epoch=10), receipt(2, BOB, CAROL)
    async with opened(kind, tmp_path) as store:
        await store.commit([entry(old)])
        await store.prune(ALICE.peer_id, oldest_epoch=11)
        assert await store.heads([BOB.peer_id]) == []
        await store.commit([entry(new)])
        assert await store.heads([BOB.peer_id]) == [new.requester_half]
