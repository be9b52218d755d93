from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from swarmharness.credit.admission import Policy
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import AMOUNT_MICROCREDITS_MAX
from swarmharness.credit.service import CreditService
from swarmharness.errors import InputError, ProtocolError, RefusedError, UnavailableError
from swarmharness.execution.memory import QUEUE_ITEMS_MAX, MemoryExecutor, MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.identity import PeerId
from swarmharness.jobs.messages import Commitment, Proposal, Reveal, RevealRequest
from swarmharness.jobs.worker import TaskServer
from swarmharness.ports import SystemRandomness
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import ALICE, BOB, CAROL, HandClock, Wire, WireTransport, ZeroRandomness

PRICE = 1_000
SKILL = MemorySkill("echo", ItemOutput, service_us=1_000_000, work_microcredits=PRICE)
BUDGET = 10 * PRICE


@dataclass
class Bench:
    """Bob serves; the others call over the wire."""

    wire: Wire
    credit: CreditService
    server: TaskServer

    async def propose(self, proposal: Proposal, who: PeerId = ALICE.peer_id) -> Commitment:
        transport = self.wire.ends.get(who) or WireTransport(self.wire, who)
        return decode(Commitment, await transport.call(BOB.peer_id, "task.run", encode(proposal), timeout_s=60))

    def left(self) -> int:
        return self.credit.credit_of(ALICE.peer_id).strangers_left


@pytest.fixture
async def bench(nursery: trio.Nursery) -> Bench:
    wire = Wire()
    transport, clock = WireTransport(wire, BOB.peer_id), HandClock()
    policy = Policy(stranger_budget_microcredits=BUDGET, own=frozenset({CAROL.peer_id}))
    credit = CreditService(MemoryReceiptStore(), BOB, transport, clock, ZeroRandomness(), policy=policy)
    await nursery.start(credit.run)
    executor = MemoryExecutor((SKILL,))
    server = TaskServer(
        executor, credit, transport, clock, SystemRandomness(), price_of=lambda skill: skill.work_microcredits
    )
    return Bench(wire, credit, server)


def proposal(number: int, count: int = 1, **changes: object) -> Proposal:
    made = Proposal(
        task_id=number.to_bytes(16, "big"),
        skill="echo",
        model_digest=hashlib.sha256(b"echo").digest(),
        price_microcredits=PRICE * count,
        salt=bytes(32),
        items=(b"item",) * count,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


async def test_an_admitted_task_is_answered_and_its_price_is_owed(autojump_clock: MockClock, bench: Bench) -> None:
    await bench.propose(proposal(1, 3))
    assert bench.left() == BUDGET - 3 * PRICE
    assert bench.credit.owed(ALICE.peer_id) == (1, 3 * PRICE)
    asked = encode(RevealRequest(proposal(1).task_id))
    answer = await bench.wire.ends[ALICE.peer_id].call(BOB.peer_id, "task.reveal", asked, timeout_s=1)
    assert [output.data for output in decode(Reveal, answer).outputs] == [b"item"] * 3


async def test_the_same_proposal_again_costs_nothing_more(autojump_clock: MockClock, bench: Bench) -> None:
    first = await bench.propose(proposal(1))
    assert await bench.propose(proposal(1)) == first
    async with trio.open_nursery() as both:
        both.start_soon(bench.propose, proposal(2))
        both.start_soon(bench.propose, proposal(2))
    assert bench.left() == BUDGET - 2 * PRICE


async def test_without_credit_nothing_is_run_and_nothing_taken_c_11(autojump_clock: MockClock, bench: Bench) -> None:
    with pytest.raises(RefusedError, match="1000 of 11000 micro-credits are missing"):
        await bench.propose(proposal(1, 11))
    assert bench.left() == BUDGET
    assert bench.server.active == 0
    await bench.propose(proposal(2, 10))
    with pytest.raises(RefusedError, match="0 left this hour for all strangers"):
        await bench.propose(proposal(3))
    await bench.propose(proposal(4, 50), CAROL.peer_id)


async def test_what_is_offered_above_the_price_is_what_is_taken(autojump_clock: MockClock, bench: Bench) -> None:
    await bench.propose(proposal(1, price_microcredits=3 * PRICE))
    assert bench.left() == BUDGET - 3 * PRICE
    assert bench.credit.owed(ALICE.peer_id) == (1, 3 * PRICE)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"skill": "other"}, UnavailableError, "does not serve 'other'"),
        ({"model_digest": bytes(32)}, UnavailableError, "with another model"),
        ({"parameters": b"\x81\xa7on_long\xa5error"}, InputError, "memory has no parameter 'on_long'; it takes none"),
        ({"parameters": b"\x80"}, ProtocolError, "expected a map from names to values"),
        ({"price_microcredits": PRICE - 1}, RefusedError, "999 were offered"),
        ({"price_microcredits": AMOUNT_MICROCREDITS_MAX + 1}, RefusedError, "no receipt moves more"),
    ],
)
async def test_an_unfit_proposal_is_refused_before_anything_is_taken(
    autojump_clock: MockClock, bench: Bench, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await bench.propose(proposal(1, **changes))
    assert bench.left() == BUDGET
    transport = bench.wire.ends[ALICE.peer_id]
    with pytest.raises(InputError, match="has no answer here"):
        await transport.call(BOB.peer_id, "task.reveal", encode(RevealRequest(proposal(1).task_id)), timeout_s=1)


async def test_a_full_queue_gives_back_what_was_taken(
    autojump_clock: MockClock, bench: Bench, nursery: trio.Nursery
) -> None:
    crowd = proposal(1, QUEUE_ITEMS_MAX)
    nursery.start_soon(bench.propose, crowd, CAROL.peer_id)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(RefusedError, match="wait already"):
        await bench.propose(proposal(2))
    assert bench.left() == BUDGET
    assert bench.credit.owed(ALICE.peer_id) == (0, 0)


async def test_covered_requests_overtake_strangers_in_the_queue_c_13(autojump_clock: MockClock, bench: Bench) -> None:
    bench.credit.set_policy(
        Policy(own=frozenset({CAROL.peer_id}), lines={ALICE.peer_id: BUDGET}, stranger_budget_microcredits=BUDGET)
    )
    order: list[str] = []

    async def ask(name: str, number: int, who: str) -> None:
        await bench.propose(proposal(number), PeerId(who))
        order.append(name)

    async with trio.open_nursery() as nursery:
        for number, (name, who) in enumerate(
            [("running", "s0"), ("stranger", "s1"), ("line", ALICE.peer_id), ("own", CAROL.peer_id), ("late", "s2")]
        ):
            nursery.start_soon(ask, name, number, who)
            await trio.sleep(0.1)
    assert order == ["running", "own", "line", "stranger", "late"]


async def test_a_closed_node_refuses_others_says_why_and_serves_its_own_user_o_1(
    autojump_clock: MockClock, bench: Bench
) -> None:
    bench.server.close("its owner paused it")
    with pytest.raises(RefusedError, match="serves nobody now: its owner paused it; ask again later"):
        await bench.propose(proposal(1))
    assert bench.left() == BUDGET
    await bench.propose(proposal(2), BOB.peer_id)
    bench.server.open()
    await bench.propose(proposal(1))


async def test_what_is_under_way_finishes_unless_it_is_handed_back_o_1(
    autojump_clock: MockClock, bench: Bench, nursery: trio.Nursery
) -> None:
    refused: list[str] = []

    async def ask(number: int, who: PeerId) -> None:
        try:
            await bench.propose(proposal(number, 2), who)
        except RefusedError as error:
            refused.append(f"{number}: {error}")

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, 1, ALICE.peer_id)
        await trio.sleep(0.1)
        bench.server.close("it saves its battery")
    assert refused == [], "the task of two seconds was let finish"
    bench.server.open()
    async with trio.open_nursery() as asking:
        asking.start_soon(ask, 2, BOB.peer_id)
        asking.start_soon(ask, 3, ALICE.peer_id)
        asking.start_soon(ask, 3, ALICE.peer_id)  # the same proposal again waits for the first
        await trio.sleep(0.1)
        bench.server.close("it saves its battery")
        bench.server.hand_back()
    why = "3: this node serves nobody now: it saves its battery; ask again later"
    assert refused == [why, why], "the node's own task went on"
    assert bench.left() == BUDGET - 2 * PRICE, "nobody pays for what was handed back"
    assert bench.credit.owed(ALICE.peer_id) == (1, 2 * PRICE)
    assert bench.server.active == 0


async def test_answers_of_a_closed_node_can_be_fetched(autojump_clock: MockClock, bench: Bench) -> None:
    await bench.propose(proposal(1))
    bench.server.close("its owner paused it")
    bench.server.hand_back()
    asked = encode(RevealRequest(proposal(1).task_id))
    answer = await bench.wire.ends[ALICE.peer_id].call(BOB.peer_id, "task.reveal", asked, timeout_s=1)
    assert len(decode(Reveal, answer).outputs) == 1
    assert await bench.propose(proposal(1)) is not None, "and the same proposal again is answered, not run"
