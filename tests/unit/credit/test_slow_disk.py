"""Writes that are slow, overlap or are cancelled: the store on SQLite and the simulator's twin keep one contract."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.holds import Hold
from swarmharness.credit.messages import SETTLE_METHOD, SettleRequest
from swarmharness.credit.receipt import Half, body_digest
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.store import ReceiptStore
from swarmharness.credit.terms import UnsettledTask
from swarmharness.errors import UnavailableError
from swarmharness.protocol.codec import decode, encode
from swarmharness.simulation.disk import SimulatedDisk, SimulatedReceiptStore, replay
from swarmharness.simulation.randomness import SeededRandomness
from tests.unit.credit.builders import ALICE, BOB, Wire, WireTransport, body, entry, half, receipt, terms
from tests.unit.credit.test_service import Party

PATIENCE_S = 60.0


class Gate:
    """What a write waits for once it has begun, in a thread or in a task."""

    def __init__(self) -> None:
        self._in_threads, self._in_tasks = threading.Event(), trio.Event()

    def slow(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def wait_and_write(*arguments: Any, **named: Any) -> Any:
            assert self._in_threads.wait(PATIENCE_S)
            return write(*arguments, **named)

        return wait_and_write

    async def sleep(self, _: float) -> None:
        await self._in_tasks.wait()

    def open(self) -> None:
        self._in_threads.set()
        self._in_tasks.set()


@asynccontextmanager
async def slow_store(kind: str, path: Path, gate: Gate) -> AsyncIterator[ReceiptStore]:
    if kind == "simulated":
        disk = SimulatedDisk(SeededRandomness("disk"), 1_000, frozen=False)
        yield SimulatedReceiptStore(disk, gate.sleep, lambda: 0, lambda entries: None)
        return
    async with open_sqlite_store(path / "credit.db", owner=BOB.peer_id, unix_us=1) as store:
        file: Any = store._writer
        for name in ("commit", "keep_holds", "keep_unsettled"):
            setattr(file, name, gate.slow(getattr(file, name)))
        store._not_quick_until_s = {False: float("inf"), True: float("inf")}
        yield store


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture(params=["sqlite", "simulated"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, gate: Gate) -> AsyncIterator[ReceiptStore]:
    async with slow_store(request.param, tmp_path, gate) as made:
        yield made


async def test_a_change_that_has_begun_is_waited_for_and_one_that_waits_is_withdrawn(
    store: ReceiptStore, gate: Gate
) -> None:
    done: list[int] = []
    scopes = [trio.CancelScope() for _ in range(5)]

    async def write(number: int) -> None:
        with scopes[number]:
            await store.keep_holds([Hold(("line", ""), number, 1)])
            done.append(number)  # in the next line, whatever was cancelled

    async with trio.open_nursery() as writes:
        for number in range(5):
            writes.start_soon(write, number)
            await trio.testing.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[3].cancel()
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert done == [0, 1, 2, 4], "in the order of the calls"
    assert [hold.epoch for hold in await store.holds(oldest_epoch=0)] == done


async def test_two_saves_that_overlap_write_one_after_the_other_x_1(
    store: Any, gate: Gate, nursery: trio.Nursery
) -> None:
    bob = Party(Wire(), BOB, store)
    await nursery.start(bob.credit.run)
    payee = bob.credit._payee
    bob.credit.expect(terms(1))
    async with trio.open_nursery() as saves:
        saves.start_soon(payee.save)
        await trio.testing.wait_all_tasks_blocked()
        payee._unsettled.settled([UnsettledTask(terms(1), 0)])
        bob.credit.expect(terms(2))
        saves.start_soon(payee.save)
        saves.start_soon(payee.save)
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert [task.terms.task for task in await store.unsettled()] == [terms(2).task]


async def test_a_receipt_whose_requester_gave_up_during_the_write_counts_s_3(
    store: Any, gate: Gate, nursery: trio.Nursery
) -> None:
    wire = Wire()
    bob, alice = Party(wire, BOB, store), WireTransport(wire, ALICE.peer_id)
    await nursery.start(bob.credit.run)
    bob.credit.expect(terms())
    request = encode(SettleRequest(body(), half(body(), ALICE)))
    async with trio.open_nursery() as calls:
        calls.start_soon(_call, alice, request, patience := trio.CancelScope())
        await trio.testing.wait_all_tasks_blocked()
        patience.cancel()
        await trio.testing.wait_all_tasks_blocked()
        gate.open()
    assert len(bob.credit.books.ledger) == len(await store.claims(oldest_epoch=0)) == 1
    assert bob.credit.owed(ALICE.peer_id) == (0, 0)
    again = decode(Half, await alice.call(BOB.peer_id, SETTLE_METHOD, request, timeout_s=1))
    assert again.content.number == 0, "it is signed once"


async def _call(alice: WireTransport, request: bytes, patience: trio.CancelScope) -> None:
    with patience:
        await alice.call(BOB.peer_id, SETTLE_METHOD, request, timeout_s=1)


# --- the simulated disk alone


async def test_what_had_begun_when_the_power_failed_is_told_or_lost_and_what_waited_is_lost() -> None:
    """Whoever judges the swarm hears of each half that reached a disk, also of those that no process heard of."""
    fates = set()
    for seed in range(16):
        gate, heard = Gate(), list[Entry]()
        disk = SimulatedDisk(SeededRandomness(f"{seed}"), 1_000, frozen=False)
        store = SimulatedReceiptStore(disk, gate.sleep, lambda: 0, heard.extend)
        async with trio.open_nursery() as writes:
            for number in (1, 2):
                writes.start_soon(_refused, store, entry(receipt(number)))
                await trio.testing.wait_all_tasks_blocked()
            reached, lost = disk.crash()
        assert not heard
        assert not lost
        assert reached == disk.log
        assert not disk.pending
        fates.add(tuple(body_digest(one.body) for write in reached for one in write.entries))
        again = SimulatedReceiptStore(disk, gate.sleep, lambda: 0, heard.extend)
        await replay(disk.log, again)
        assert len(await again.claims(oldest_epoch=0)) == len(reached)
    assert fates == {(), (body_digest(receipt(1).body),)}


async def _refused(store: SimulatedReceiptStore, one: Entry) -> None:
    with pytest.raises(UnavailableError, match="disk is gone"):
        await store.commit([one])
