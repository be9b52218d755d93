from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.admission import Policy, Rank
from swarmharness.credit.books import Books
from swarmharness.credit.gate import BANNED, BLOCK_MICROCREDITS, NOT_COVERED, Gate
from swarmharness.credit.holds import STRANGERS, Hold
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import EPOCH_US, Receipt
from swarmharness.errors import RefusedError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.refusals import Tally
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, HandClock, body, entry, half, receipt

EPOCH = NOON_US // EPOCH_US


class CountingStore(MemoryReceiptStore):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0
        self.broken = False

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        if self.broken:
            raise UnavailableError("the disk is full: free some space")
        self.writes += 1
        await super().keep_holds(holds)


def carol_worked_for_alice_and_alice_for_bob() -> list[Entry]:
    first = receipt(1, requester=BOB, worker=ALICE)
    after = body(2, requester=ALICE, worker=CAROL)
    return [entry(first), entry(Receipt(after, half(after, ALICE, first.worker_half), half(after, CAROL)))]


class Bench:
    """BOB's gate, on a store that outlives it."""

    def __init__(self, nursery: trio.Nursery, policy: Policy, store: CountingStore | None = None) -> None:
        self.store = store or CountingStore()
        self.clock = HandClock()
        self.books = Books(self.store, BOB.peer_id, self.clock, horizon_epochs=policy.horizon_epochs)
        self.refused = Tally()
        self.withholding: set[PeerId] = set()
        self.gate = Gate(
            self.books,
            self.store,
            BOB.peer_id,
            policy,
            withholds=self.withholding.__contains__,
            refused=self.refused,
        )
        nursery.start_soon(self.books.run)

    async def taken_on_disk(self, key: tuple[str, str]) -> int:
        return sum(hold.microcredits for hold in await self.store.holds(oldest_epoch=0) if hold.key == key)


async def test_strangers_share_one_budget_an_hour_and_the_refusal_says_what_is_missing_c_11(
    nursery: trio.Nursery,
) -> None:
    bench = Bench(nursery, Policy(stranger_budget_microcredits=1_000))
    ticket = await bench.gate.admit(ALICE.peer_id, 700)
    assert ticket.priority[0] == Rank.STRANGER
    with pytest.raises(RefusedError, match=r"100 of 400 micro-credits are missing.*300 left this hour") as refusal:
        await bench.gate.admit(CAROL.peer_id, 400)
    assert "ask its operator for a line" in str(refusal.value)
    assert bench.refused == {NOT_COVERED: 1}
    await bench.gate.admit(CAROL.peer_id, 300)
    bench.clock.now_us += EPOCH_US
    await bench.gate.admit(CAROL.peer_id, 1_000)


class SlowHolds(CountingStore):
    """Writes when its gate opens."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        await self.gate.wait()
        await super().keep_holds(holds)


async def test_what_was_not_written_is_given_back_by_the_next_write_s_3(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy())
    await bench.gate.admit(ALICE.peer_id, 700)
    bench.clock.now_us += EPOCH_US
    bench.store.broken = True
    with pytest.raises(UnavailableError):
        await bench.gate.admit(ALICE.peer_id, 300)
    bench.store.broken = False
    await bench.gate.admit(ALICE.peer_id, 300)
    kept = {hold.epoch: hold.microcredits for hold in await bench.store.holds(oldest_epoch=0)}
    assert kept == {EPOCH: 700, EPOCH + 1: 300 + BLOCK_MICROCREDITS}
    await bench.gate.close()
    assert [hold.microcredits for hold in await bench.store.holds(oldest_epoch=0)] == [700, 300]


async def test_what_is_given_back_while_a_stop_is_written_down_is_given_back_on_disk_too_s_3(
    nursery: trio.Nursery,
) -> None:
    store = SlowHolds()
    store.gate.set()
    bench = Bench(nursery, Policy(), store)
    ticket = await bench.gate.admit(ALICE.peer_id, 700)
    late = await bench.gate.admit(ALICE.peer_id, 40)
    await bench.gate.admit(ALICE.peer_id, 2)
    store.gate = trio.Event()
    async with trio.open_nursery() as closing:
        closing.start_soon(bench.gate.close)
        await trio.testing.wait_all_tasks_blocked()
        bench.gate.undo(ticket)
        with pytest.raises(RefusedError, match="stopping"):
            await bench.gate.admit(CAROL.peer_id, 1)
        store.gate.set()
    bench.gate.undo(late)  # the disk has the last word
    assert await bench.taken_on_disk(STRANGERS) == 42
    assert bench.books.holds.taken_in(STRANGERS, EPOCH) == 42


async def test_own_peers_and_the_node_itself_are_served_unmetered_and_first(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy(own=frozenset({ALICE.peer_id}), stranger_budget_microcredits=0))
    for requester in (ALICE.peer_id, BOB.peer_id):
        assert (await bench.gate.admit(requester, 10**12)).priority[0] == Rank.OWN
    assert bench.store.writes == 0


async def test_work_done_here_and_by_way_of_partners_covers_requests_c_10(nursery: trio.Nursery) -> None:
    store = CountingStore()
    await store.commit(carol_worked_for_alice_and_alice_for_bob())
    bench = Bench(nursery, Policy(stranger_budget_microcredits=0), store)
    assert bench.gate.credit_of(ALICE.peer_id).flow == 0, "nothing is counted yet"
    ticket = await bench.gate.admit(CAROL.peer_id, 600)
    assert ticket.priority[:2] == (Rank.COVERED, -1_001), "by way of Alice"
    assert bench.gate.credit_of(ALICE.peer_id).flow == 401
    bench.books.received([receipt(3, requester=BOB, worker=CAROL)])
    assert bench.gate.credit_of(CAROL.peer_id).flow == 401 + 1_003


async def test_the_order_is_own_then_the_largest_flow_then_strangers_then_withholders_c_13(
    nursery: trio.Nursery,
) -> None:
    store = CountingStore()
    await store.commit([entry(receipt(1, requester=BOB, worker=ALICE))])
    bench = Bench(nursery, Policy(own=frozenset({PeerId("laptop")}), lines={CAROL.peer_id: 5_000}), store)
    tickets = {}
    for who in ("stranger", "late stranger", CAROL.peer_id, ALICE.peer_id, "laptop"):
        tickets[who] = await bench.gate.admit(PeerId(who), 100)
    bench.withholding.add(ALICE.peer_id)
    tickets["withholder"] = await bench.gate.admit(ALICE.peer_id, 100)
    order = sorted(tickets, key=lambda who: tickets[who].priority)
    assert order == ["laptop", ALICE.peer_id, CAROL.peer_id, "stranger", "late stranger", "withholder"]


async def test_a_line_is_granted_by_invites_unless_the_operator_says_otherwise(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy(lines={CAROL.peer_id: 5}, stranger_budget_microcredits=0))
    bench.gate.grant(ALICE.peer_id, 300)
    bench.gate.grant(ALICE.peer_id, 300)
    bench.gate.grant(CAROL.peer_id, 300)
    await bench.gate.admit(ALICE.peer_id, 500)
    credit = bench.gate.credit_of(ALICE.peer_id)
    assert (credit.line, credit.line_left) == (600, 100)
    assert bench.gate.credit_of(CAROL.peer_id).line == 5
    bench.gate.set_policy(Policy(stranger_budget_microcredits=7))
    assert bench.gate.credit_of(ALICE.peer_id).line_left == 100
    assert bench.gate.credit_of(CAROL.peer_id).line == 300


async def test_a_banned_peer_is_refused_and_no_path_leads_through_it_c_16(nursery: trio.Nursery) -> None:
    store = CountingStore()
    await store.commit(carol_worked_for_alice_and_alice_for_bob())
    bench = Bench(nursery, Policy(stranger_budget_microcredits=0), store)
    await bench.books.ready.wait()
    bench.books.ban(ALICE.peer_id)
    bench.books.ban(BOB.peer_id)
    with pytest.raises(RefusedError, match="signed two histories"):
        await bench.gate.admit(ALICE.peer_id, 1)
    with pytest.raises(RefusedError, match="micro-credits are missing"):
        await bench.gate.admit(CAROL.peer_id, 1)
    assert bench.refused == {BANNED: 1, NOT_COVERED: 1}
    assert BOB.peer_id not in bench.books.banned, "a node does not ban itself"


async def test_a_peer_with_a_second_incarnation_is_a_stranger_until_the_horizon_c_18(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy(horizon_epochs=10))
    await bench.books.ready.wait()
    first = receipt(1, requester=BOB, worker=ALICE)
    bench.books.received([first])
    assert bench.gate.credit_of(ALICE.peer_id).flow > 0
    later = body(2, requester=BOB, worker=ALICE, epoch=EPOCH + 1)
    opened = half(later, ALICE)
    content = replace(opened.content, incarnation=opened.content.incarnation + 1)
    bench.clock.now_us += EPOCH_US
    bench.books.received([Receipt(later, half(later, BOB), replace(opened, content=content))])
    assert bench.gate.credit_of(ALICE.peer_id).flow == 0
    assert bench.books.ledger.standing(ALICE.peer_id) > 0, "its receipts still count"
    bench.clock.now_us += 9 * EPOCH_US
    assert bench.gate.credit_of(ALICE.peer_id).flow > 0, "only the newer incarnation is left"


async def test_a_crash_returns_no_hold_and_a_stop_returns_only_what_was_not_taken_c_12(nursery: trio.Nursery) -> None:
    policy = Policy(lines={ALICE.peer_id: 10 * BLOCK_MICROCREDITS}, stranger_budget_microcredits=0)
    bench = Bench(nursery, policy)
    line = (ALICE.peer_id, "")
    for _ in range(100):
        await bench.gate.admit(ALICE.peer_id, BLOCK_MICROCREDITS // 40)
    assert bench.store.writes <= 4, "one write for a block, not for a request"
    after_crash = await bench.taken_on_disk(line)
    assert after_crash >= 100 * (BLOCK_MICROCREDITS // 40)
    await bench.gate.close()
    assert await bench.taken_on_disk(line) == 100 * (BLOCK_MICROCREDITS // 40)
    again = Bench(nursery, policy, bench.store)
    await again.books.ready.wait()
    assert again.gate.credit_of(ALICE.peer_id).line_left == 10 * BLOCK_MICROCREDITS - 100 * (BLOCK_MICROCREDITS // 40)


async def test_what_was_reserved_in_past_hours_is_given_back_on_disk(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy())
    for _ in range(5):
        await bench.gate.admit(ALICE.peer_id, 1_000)
        bench.clock.now_us += EPOCH_US
    await bench.gate.admit(ALICE.peer_id, 1_000)
    assert await bench.taken_on_disk(STRANGERS) == 6 * 1_000 + BLOCK_MICROCREDITS


async def test_a_request_that_is_refused_after_all_takes_nothing(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy(stranger_budget_microcredits=1_000))
    for _ in range(5):
        bench.gate.undo(await bench.gate.admit(ALICE.peer_id, 1_000))
    bench.store.broken = True
    bench.clock.now_us += EPOCH_US
    with pytest.raises(UnavailableError):
        await bench.gate.admit(ALICE.peer_id, 1_000)
    bench.store.broken = False
    await bench.gate.admit(ALICE.peer_id, 1_000)


async def test_many_at_once_get_no_more_than_there_is(nursery: trio.Nursery) -> None:
    bench = Bench(nursery, Policy(stranger_budget_microcredits=10_000))
    served = 0

    async def ask(number: int) -> None:
        nonlocal served
        try:
            await bench.gate.admit(PeerId(f"sybil {number}"), 1_000)
            served += 1
        except RefusedError:
            pass

    async with trio.open_nursery() as crowd:
        for number in range(50):
            crowd.start_soon(ask, number)
    assert served == 10
