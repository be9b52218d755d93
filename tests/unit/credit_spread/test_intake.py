from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import Half, Problem, Receipt, body_digest
from swarmharness.credit.spread.intake import Intake, SpreadProblem
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.errors import RefusedError, UnavailableError
from swarmharness.refusals import Refusals, Tally
from tests.unit.credit.builders import ALICE, BOB, CAROL, HandClock, body, identity, receipt

EPOCH = body().epoch
ME, SENDER = identity(7), identity(8)


class StuckStore(MemoryReceiptStore):
    """Its disk is full, or slow."""

    def __init__(self) -> None:
        super().__init__()
        self.full = False
        self.gate = trio.Event()
        self.gate.set()
        self.commits = 0

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        await self.gate.wait()
        if self.full:
            raise UnavailableError("the disk is full")
        self.commits += 1
        return await super().commit(entries)


@dataclass
class Fixture:
    settings: SpreadSettings = field(default_factory=SpreadSettings)
    store: StuckStore = field(default_factory=StuckStore)
    clock: HandClock = field(default_factory=HandClock)
    refusals: Refusals = field(default_factory=Refusals)
    proofs: list[ForkProof] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.refused = Tally(self.refusals)
        self.near = Neighbourhood(ME.peer_id, EPOCH)
        for number, partner in enumerate((ALICE, BOB)):
            self.near.add(EPOCH, bytes([number]) * 32, partner.peer_id, ME.peer_id)
        self.intake = Intake(
            self.store, self.near, self.clock, self.settings, refused=self.refused, on_proof=self.proofs.append
        )

    async def take(self, *receipts: Receipt, asked: bool = False) -> list[Receipt]:
        return await self.intake.take(receipts, sender=SENDER.peer_id, asked=asked)

    async def stored(self) -> int:
        return len(await self.store.claims(oldest_epoch=0))


def tampered(made: Receipt) -> Receipt:
    broken = replace(made.worker_half, signature=bytes(64))
    return replace(made, worker_half=broken)


def beside(made: Receipt) -> Receipt:
    """Give one's halves to another body."""
    return replace(made, body=body(2))


def opened_wrongly(made: Receipt) -> Receipt:
    content = replace(made.worker_half.content, number=5)
    return replace(made, worker_half=Half(content, made.worker_half.signature))


BAD = [
    (tampered(receipt(1)), Problem.WRONG_SIGNATURE),
    (beside(receipt(1)), Problem.WRONG_BODY),
    (replace(receipt(1), worker_half=receipt(1).requester_half), Problem.WRONG_SIGNER),
    (opened_wrongly(receipt(1)), Problem.WRONG_OPENING),
    (receipt(1, share_microcredits=9, price_microcredits=8), Problem.SHARE_ABOVE_PRICE),
    (receipt(1, ALICE, ALICE), Problem.SAME_PARTY),
    (receipt(1, epoch=EPOCH + 2), SpreadProblem.NOT_DUE),
    (receipt(1, epoch=EPOCH - HORIZON_EPOCHS), SpreadProblem.NOT_DUE),
    (receipt(1, CAROL, identity(4)), SpreadProblem.NOT_NEAR),
]


@pytest.mark.parametrize(("bad", "reason"), BAD, ids=[reason.name for _, reason in BAD])
async def test_each_bad_receipt_is_counted_with_its_reason_and_has_no_effect_s_2(bad: Receipt, reason: str) -> None:
    fixture = Fixture()
    good = receipt(3)
    assert await fixture.take(bad, good) == [good]
    assert fixture.refused == Counter({reason: 1})
    assert await fixture.stored() == 1


async def test_what_is_known_is_neither_checked_nor_counted_again_c_4() -> None:
    fixture = Fixture(SpreadSettings(sender_burst=1, sender_per_s=0))
    assert len(await fixture.take(receipt(1))) == 1
    assert await fixture.take(receipt(1), receipt(1)) == []
    assert fixture.refused == Counter()


async def test_listeners_hear_of_what_is_stored() -> None:
    fixture = Fixture()
    heard: list[Receipt] = []
    fixture.intake.listeners.append(heard.extend)
    await fixture.take(receipt(1), receipt(2))
    assert heard == [receipt(1), receipt(2)]
    assert fixture.near.knows(EPOCH, body_digest(body(1)))


async def test_a_sender_is_charged_for_forgeries_and_the_signer_is_not_c_20() -> None:
    fixture = Fixture(SpreadSettings(sender_burst=2, sender_per_s=1, signer_burst=1, signer_per_s=0))
    assert await fixture.take(tampered(receipt(1)), tampered(receipt(2)), receipt(3)) == []
    assert fixture.refused == Counter({Problem.WRONG_SIGNATURE: 2, SpreadProblem.SENDER_TOO_FAST: 1})
    fixture.clock.now_us += 1_000_000
    assert await fixture.take(receipt(3)) == [receipt(3)]


async def test_whoever_sends_many_forgeries_is_an_attack_and_who_sends_what_nobody_wants_is_none() -> None:
    fixture = Fixture()
    await fixture.take(*(receipt(number, CAROL, identity(4)) for number in range(30)))
    assert fixture.refused == Counter({SpreadProblem.NOT_NEAR: 30})
    assert fixture.refusals.attacks() == []
    await fixture.take(*(tampered(receipt(number)) for number in range(30)))
    (attack,) = fixture.refusals.attacks()
    assert (attack.source, attack.reason, attack.count) == (SENDER.peer_id, Problem.WRONG_SIGNATURE, 30)


async def test_a_signer_that_floods_is_cut_off_until_its_bucket_fills_c_20() -> None:
    fixture = Fixture(SpreadSettings(signer_burst=2, signer_per_s=1))
    flood = [receipt(number, ALICE, identity(100 + number)) for number in range(5)]
    assert await fixture.take(*flood) == flood[:2]
    assert fixture.refused == Counter({SpreadProblem.SIGNER_TOO_FAST: 3})
    honest = receipt(9, BOB, CAROL)
    fixture.clock.now_us += 1_000_000
    assert await fixture.take(honest, flood[2]) == [honest, flood[2]]


async def test_what_was_asked_for_is_not_charged_to_whoever_sends_it() -> None:
    fixture = Fixture(SpreadSettings(sender_burst=0, sender_per_s=0, signer_burst=0, signer_per_s=0))
    assert await fixture.take(receipt(1), asked=True) == [receipt(1)]


async def test_too_many_waiting_messages_are_refused(nursery: trio.Nursery) -> None:
    fixture = Fixture(SpreadSettings(batches_waiting_max=1))
    async with fixture.intake._turn:  # something is being verified
        nursery.start_soon(fixture.take, receipt(1))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RefusedError, match="found again"):
            await fixture.take(receipt(2))
    assert fixture.refused == Counter({SpreadProblem.BUSY: 1})
    nursery.cancel_scope.cancel()


async def test_a_disk_that_hangs_gathers_no_more_than_so_many_receipts(nursery: trio.Nursery) -> None:
    """Whoever gives up leaves its receipts with those that wait; without a bound they would fill the memory."""
    fixture = Fixture(SpreadSettings(receipts_waiting_max=3))
    fixture.store.gate = trio.Event()
    nursery.start_soon(fixture.take, receipt(1))
    await trio.testing.wait_all_tasks_blocked()
    async with trio.open_nursery() as impatient:
        for number in (2, 4):
            impatient.start_soon(fixture.take, receipt(number), receipt(number + 1))
            await trio.testing.wait_all_tasks_blocked()
        impatient.cancel_scope.cancel()
    with pytest.raises(RefusedError, match=SpreadProblem.BUSY):
        await fixture.take(receipt(6))
    fixture.store.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert await fixture.take(receipt(6)) == [receipt(6)], "and what waited went to disk with it"
    assert await fixture.stored() == 6


async def test_receipts_that_come_during_a_commit_share_the_next_one(nursery: trio.Nursery) -> None:
    fixture = Fixture()
    fixture.store.gate = trio.Event()
    for number in range(5):
        nursery.start_soon(fixture.take, receipt(number))
    await trio.testing.wait_all_tasks_blocked()
    assert await fixture.take(receipt(2)) == []  # it is being stored
    fixture.store.gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert await fixture.stored() == 5
    assert fixture.store.commits == 2


async def test_a_full_disk_is_told_to_the_sender_and_the_receipt_may_come_again() -> None:
    fixture = Fixture()
    fixture.store.full = True
    with pytest.raises(UnavailableError, match="full"):
        await fixture.take(receipt(1))
    assert fixture.refused == Counter({SpreadProblem.NOT_STORED: 1})
    fixture.store.full = False
    assert await fixture.take(receipt(1)) == [receipt(1)]


async def test_two_histories_are_proved_by_what_is_stored_c_15() -> None:
    fixture = Fixture()
    forked = [receipt(1), receipt(2)]  # each half opens the same chain
    assert await fixture.take(*forked) == forked  # both count: the state does not depend on the order (C-16)
    assert {proof.signer for proof in fixture.proofs} == {ALICE.peer_id, BOB.peer_id}


async def test_receipts_that_others_store_for_a_caller_that_gave_up_are_heard_of_s_3(
    autojump_clock: trio.testing.MockClock,
) -> None:
    fixture = Fixture()
    heard: list[Receipt] = []
    fixture.intake.listeners.append(heard.extend)
    fixture.store.gate = trio.Event()
    first, second, third = (receipt(number) for number in range(3))
    async with trio.open_nursery() as calls:

        async def give_up() -> None:
            with trio.move_on_after(1):
                await fixture.take(second)

        calls.start_soon(fixture.take, first)
        await trio.testing.wait_all_tasks_blocked()
        calls.start_soon(give_up)
        calls.start_soon(fixture.take, third)
        await trio.sleep(5)
        fixture.store.gate.set()
    assert await fixture.stored() == len(heard) == 3
    assert fixture.store.commits == 2
