from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import is_successor
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import ZERO_DIGEST, Half, Receipt, body_digest, half_problem
from swarmharness.credit.writer import GROUP_MAX, ChainWriter
from swarmharness.errors import UnavailableError
from tests.unit.credit.builders import ALICE, BOB, NOON_US, HandClock, body, half


class GatedStore(MemoryReceiptStore):
    """Commits only while its gate is open; `full` is a full disk."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.gate = trio.Event()
        self.gate.set()
        self.full = False

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        await self.gate.wait()
        if self.full:
            raise UnavailableError("the disk is full: free some space")
        self.groups.append(len(entries))
        return await super().commit(entries)


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
def writer(store: GatedStore) -> ChainWriter:
    return ChainWriter(store, ALICE, HandClock())


async def test_a_chain_opens_with_the_clock_and_links_half_to_half(writer: ChainWriter, nursery: trio.Nursery) -> None:
    await nursery.start(writer.run)
    first = await writer.sign(body(1))
    second = await writer.sign(body(2))
    assert (first.content.incarnation, first.content.number, first.content.previous) == (NOON_US, 0, ZERO_DIGEST)
    assert is_successor(first, second)
    assert half_problem(second, body_digest(body(2)), ALICE.peer_id) is None


async def test_a_half_is_stored_before_it_leaves_s_1(
    writer: ChainWriter, store: GatedStore, nursery: trio.Nursery, autojump_clock: object
) -> None:
    await nursery.start(writer.run)
    store.gate = trio.Event()
    signed: list[Half] = []

    async def sign() -> None:
        signed.append(await writer.sign(body()))

    async with trio.open_nursery() as calls:
        calls.start_soon(sign)
        await trio.sleep(60)
        assert signed == [], "a signature left before it was stored"
        store.gate.set()
    assert [await store.head(ALICE.peer_id)] == signed


async def test_whoever_is_cancelled_before_the_commit_signs_nothing_and_during_it_is_told_s_3(
    writer: ChainWriter, store: GatedStore, nursery: trio.Nursery, autojump_clock: object
) -> None:
    await nursery.start(writer.run)
    store.gate = trio.Event()
    told: list[int] = []

    async def sign(number: int) -> None:
        with trio.move_on_after(10) as patience:
            await writer.sign(body(number))
            told.append(number)  # in the next line, before anything can be cancelled
        assert patience.cancelled_caught == (number not in told)

    async with trio.open_nursery() as calls:
        calls.start_soon(sign, 1)
        await trio.testing.wait_all_tasks_blocked()
        calls.start_soon(sign, 2)
        await trio.sleep(60)
        store.gate.set()
    assert told == [1]
    assert await store.entry(body_digest(body(1))) is not None
    assert await store.entry(body_digest(body(2))) is None
    assert (await writer.sign(body(3))).content.number == 1


async def test_hundreds_at_once_share_few_commits_and_make_one_chain(
    writer: ChainWriter, store: GatedStore, nursery: trio.Nursery
) -> None:
    await nursery.start(writer.run)
    halves = []

    async def sign(number: int) -> None:
        halves.append(await writer.sign(body(number)))

    async with trio.open_nursery() as group:
        for number in range(300):
            group.start_soon(sign, number)
    halves.sort(key=lambda made: made.content.number)
    assert [made.content.number for made in halves] == list(range(300))
    assert all(is_successor(*pair) for pair in pairwise(halves))
    assert len(store.groups) <= 300 // GROUP_MAX + 2


async def test_after_a_restart_the_chain_goes_on(store: GatedStore) -> None:
    halves = []
    for number in range(3):
        async with trio.open_nursery() as nursery:
            writer = ChainWriter(store, ALICE, HandClock(NOON_US + number))
            await nursery.start(writer.run)
            halves.append(await writer.sign(body(number)))
            nursery.cancel_scope.cancel()
    assert is_successor(halves[0], halves[1])
    assert is_successor(halves[1], halves[2])


async def test_a_full_disk_is_reported_and_leaves_no_gap(
    writer: ChainWriter, store: GatedStore, nursery: trio.Nursery
) -> None:
    await nursery.start(writer.run)
    before = await writer.sign(body(1))
    store.full = True
    with pytest.raises(UnavailableError, match="free some space"):
        await writer.sign(body(2))
    store.full = False
    assert is_successor(before, await writer.sign(body(2)))


async def test_both_halves_are_stored_at_once(writer: ChainWriter, store: GatedStore, nursery: trio.Nursery) -> None:
    await nursery.start(writer.run)
    other = half(body(), BOB)
    own = await writer.sign(body(), other)
    entry = await store.entry(body_digest(body()))
    assert entry is not None
    assert entry.receipt == Receipt(body(), own, other)


async def test_the_other_half_is_kept_later(writer: ChainWriter, store: GatedStore, nursery: trio.Nursery) -> None:
    await nursery.start(writer.run)
    own = await writer.sign(body())
    await writer.keep(body(), half(body(), BOB))
    entry = await store.entry(body_digest(body()))
    assert entry is not None
    assert entry.receipt == Receipt(body(), own, half(body(), BOB))


async def test_who_waits_when_the_node_stops_is_told(writer: ChainWriter, store: GatedStore) -> None:
    outcomes: list[str] = []

    async def sign(number: int) -> None:
        with pytest.raises(UnavailableError) as caught:
            await writer.sign(body(number))
        outcomes.append(str(caught.value))

    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as running:
            await running.start(writer.run)
            store.gate = trio.Event()
            for number in range(3):
                callers.start_soon(sign, number)
                await trio.testing.wait_all_tasks_blocked()
            running.cancel_scope.cancel()
        await sign(9)
    assert sorted(outcomes) == [
        "this node is stopping: its receipts are closed",
        *["this node stopped before the receipt was stored"] * 3,
    ]
    assert await store.head(ALICE.peer_id) is None
