from __future__ import annotations

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import LEAP_LEAST
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.messages import REMEMBER_METHOD, Remembered
from swarmharness.credit.recall import QUESTION_S, Recall
from swarmharness.credit.receipt import Half, body_digest
from swarmharness.network.ports import Request
from swarmharness.protocol.codec import encode
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, HandClock, Wire, WireTransport, body, half

LATER_US = NOON_US + 1_000_000


class MovedStore(MemoryReceiptStore):
    @property
    def moved(self) -> bool:
        return True


def chain(count: int) -> list[Entry]:
    """Alice's receipts with Bob, one after the other."""
    entries: list[Entry] = []
    last: Half | None = None
    for number in range(count):
        made = body(number)
        last = half(made, ALICE, last)
        entries.append(Entry(made, last, None, NOON_US))
    return entries


async def alices(wire: Wire, entries: list[Entry], store: MemoryReceiptStore | None = None) -> Recall:
    store = store or MemoryReceiptStore()
    await store.commit(entries)
    return Recall(store, ALICE, WireTransport(wire, ALICE.peer_id), HandClock(LATER_US))


async def bob_remembers(wire: Wire, entries: list[Entry]) -> None:
    store = MemoryReceiptStore()
    await store.commit(entries)
    Recall(store, BOB, WireTransport(wire, BOB.peer_id), HandClock())


async def test_a_chain_goes_on_where_its_partners_saw_it_end_c_17() -> None:
    wire = Wire()
    recall = await alices(wire, chain(5))
    await bob_remembers(wire, chain(5))
    place = await recall.place()
    assert (place.incarnation, place.number) == (NOON_US, 5)


async def test_a_lost_tail_or_a_restored_backup_opens_a_new_incarnation_c_17() -> None:
    wire = Wire()
    recall = await alices(wire, chain(3))
    await bob_remembers(wire, chain(5))
    place = await recall.place()
    assert (place.incarnation, place.number) == (LATER_US, 0)
    assert await recall.place() == place, "until it is signed, the new chain is not open"


async def test_another_half_at_the_last_place_opens_a_new_incarnation() -> None:
    wire = Wire()
    forgotten = body(99)
    store = chain(2)
    recall = await alices(wire, store)
    assert store[0].requester_half is not None
    other = Entry(forgotten, half(forgotten, ALICE, store[0].requester_half), None, NOON_US)
    await bob_remembers(wire, [store[0], other])
    assert (await recall.place()).incarnation == LATER_US


async def test_what_a_partner_makes_up_is_not_believed() -> None:
    wire = Wire()
    recall = await alices(wire, chain(2))
    forged = half(body(7), BOB)

    async def lie(request: Request) -> bytes:
        return encode(Remembered((forged,)))

    WireTransport(wire, BOB.peer_id).handle(REMEMBER_METHOD, lie)
    assert (await recall.place()).number == 2


async def test_partners_that_are_away_are_waited_for_but_not_for_ever(
    autojump_clock: trio.testing.MockClock,
) -> None:
    recall = await alices(Wire(), chain(2))
    start = trio.current_time()
    assert (await recall.place()).number == 2
    assert trio.current_time() - start == QUESTION_S


async def test_a_partner_that_comes_in_time_is_heard(autojump_clock: trio.testing.MockClock) -> None:
    wire = Wire()
    recall = await alices(wire, chain(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recall.run)
        await trio.sleep(QUESTION_S / 2)
        await bob_remembers(wire, chain(4))
    assert (await recall.place()).incarnation == LATER_US


async def test_a_copied_file_that_nobody_vouches_for_is_not_continued(autojump_clock: trio.testing.MockClock) -> None:
    recall = await alices(Wire(), chain(2), MovedStore())
    assert (await recall.place()).incarnation == LATER_US
    wire = Wire()
    recall = await alices(wire, chain(2), MovedStore())
    await bob_remembers(wire, chain(2))
    assert (await recall.place()).number == 2


@pytest.mark.parametrize("signed", [0, 1])
async def test_a_sealed_incarnation_is_not_continued_and_the_next_one_is(signed: int) -> None:
    store = MemoryReceiptStore()
    await store.seal(LATER_US + 5)
    recall = await alices(Wire(), [], store)
    place = await recall.place()
    assert (place.incarnation, place.number) == (LATER_US + 6, 0)
    if signed:
        made = body(1, requester=ALICE, worker=CAROL)
        await store.commit([Entry(made, half(made, ALICE, place=place), None, NOON_US)])
        assert ((await recall.place()).incarnation, (await recall.place()).number) == (LATER_US + 6, 1)


async def test_an_empty_store_asks_nobody_and_opens_its_first_chain() -> None:
    recall = await alices(Wire(), [])
    assert (await recall.place()).incarnation == LATER_US


async def test_only_ones_own_halves_are_told() -> None:
    wire = Wire()
    store = MemoryReceiptStore()
    await store.commit([entry_of(1)])
    Recall(store, BOB, WireTransport(wire, BOB.peer_id), HandClock())
    asked = WireTransport(wire, CAROL.peer_id)
    assert await asked.call(BOB.peer_id, REMEMBER_METHOD, b"", timeout_s=1) == encode(Remembered(()))
    asked = WireTransport(wire, ALICE.peer_id)
    known = await asked.call(BOB.peer_id, REMEMBER_METHOD, b"", timeout_s=1)
    assert known == encode(Remembered((half(body(1), ALICE),)))
    assert body_digest(body(1)) in known


def entry_of(number: int) -> Entry:
    made = body(number)
    return Entry(made, half(made, ALICE), half(made, BOB), NOON_US)


class InterruptedStore(MemoryReceiptStore):
    """The power failed while it was open."""

    @property
    def interrupted(self) -> bool:
        return self._floor is None


async def test_after_a_loss_of_power_the_chain_leaps_over_what_may_be_lost_and_stays_one_chain_c_17() -> None:
    wire = Wire()
    store = InterruptedStore()
    recall = await alices(wire, chain(2), store)
    await bob_remembers(wire, chain(2))
    place = await recall.place()
    assert (place.incarnation, place.number) == (NOON_US, LATER_US - NOON_US + LEAP_LEAST - 1_000_000 + 2)
    assert await recall.place() == place, "until something is signed there"
    again = Recall(store, ALICE, WireTransport(wire, ALICE.peer_id), HandClock(LATER_US + 5))
    assert await again.place() == place, "the leap is on the disk, and one is enough"
    made = body(9)
    await store.commit([Entry(made, half(made, ALICE, place=place), None, NOON_US)])
    assert (await recall.place()).number == place.number + 1


async def test_a_loss_of_power_before_anything_was_signed_needs_no_leap() -> None:
    store = InterruptedStore()
    recall = await alices(Wire(), [], store)
    assert (await recall.place()).number == 0
    assert not store.interrupted
