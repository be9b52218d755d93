from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import trio
import trio.testing

from swarmharness.credit.accounts import Entry
from swarmharness.credit.admission import Rank
from swarmharness.credit.attribution.games import (
    BatchGame,
    CappedGame,
    Chunk,
    SpeculativeGame,
    game_digest,
    game_text,
)
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.game_check import single_game_text
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.messages import GAME_METHOD, SETTLE_METHOD, GameAnswer, GameRequest, SettleRequest
from swarmharness.credit.payee import WITHHELD_AFTER_US
from swarmharness.credit.receipt import EPOCH_US, Half, Problem, Receipt, ReceiptBody, body_digest, receipt_problem
from swarmharness.credit.retry import RETRY_DELAYS_US
from swarmharness.credit.service import CreditService
from swarmharness.credit.store import Game
from swarmharness.credit.terms import UnsettledTask, settlement_body, sole_game
from swarmharness.errors import (
    DeadlineError,
    InputError,
    PeerLostError,
    ProtocolError,
    RefusedError,
    UnavailableError,
)
from swarmharness.identity import Identity, PeerId
from swarmharness.network.ports import PeerEvent
from swarmharness.protocol.codec import decode, encode
from tests.unit.credit.builders import (
    ALICE,
    BOB,
    CAROL,
    NOON_US,
    HandClock,
    Wire,
    WireTransport,
    ZeroRandomness,
    body,
    entry,
    half,
    identity,
    receipt,
    terms,
)


class TrioClock(HandClock):
    """Goes with trio's clock, so that `autojump_clock` moves it."""

    def monotonic_us(self) -> int:
        return int(trio.current_time() * 1e6) + self.now_us


class Party:
    def __init__(self, wire: Wire, who: Identity, store: MemoryReceiptStore | None = None) -> None:
        self.store = store or MemoryReceiptStore()
        self.clock = TrioClock()
        self.transport = WireTransport(wire, who.peer_id)
        self.credit = CreditService(self.store, who, self.transport, self.clock, ZeroRandomness())

    async def send(self, to: Identity, statement: ReceiptBody, signed: Half) -> Half:
        request = encode(SettleRequest(statement, signed))
        return decode(Half, await self.transport.call(to.peer_id, SETTLE_METHOD, request, timeout_s=1))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
async def alice(wire: Wire, nursery: trio.Nursery) -> Party:
    party = Party(wire, ALICE)
    await nursery.start(party.credit.run)
    return party


@pytest.fixture
async def bob(wire: Wire, nursery: trio.Nursery) -> Party:
    party = Party(wire, BOB)
    await nursery.start(party.credit.run)
    return party


async def test_a_settled_task_is_a_receipt_on_both_sides_s_2(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    receipt = await alice.credit.settle(body())
    assert receipt_problem(receipt) is None
    for party in (alice, bob):
        kept = await party.store.entry(body_digest(body()))
        assert kept is not None
        assert kept.receipt == receipt
    assert (await alice.credit.balance()).spent_microcredits == 1_001
    assert (await bob.credit.balance()).earned_microcredits == 1_001
    (shown,) = await bob.credit.history(9)
    assert shown.as_dict()["role"] == "worker"


async def test_twenty_tasks_settle_in_one_receipt(alice: Party, bob: Party) -> None:
    tasks = [terms(number) for number in range(20)]
    for task in tasks:
        bob.credit.expect(task)
    assert bob.credit.owed(ALICE.peer_id)[0] == 20
    receipt = await alice.credit.settle(settlement_body(tasks))
    assert receipt.body.share_microcredits == sum(range(1_000, 1_020))
    assert bob.credit.owed(ALICE.peer_id) == (0, 0)


async def test_hundreds_in_parallel_with_several_peers_all_settle(
    wire: Wire, alice: Party, nursery: trio.Nursery
) -> None:
    workers = [identity(number) for number in range(10, 14)]
    for worker in workers:
        party = Party(wire, worker)
        await nursery.start(party.credit.run)
        for number in range(100):
            party.credit.expect(terms(number, worker=worker))
    for number in range(100):
        for worker in workers:
            alice.credit.settle_later(body(number, worker=worker))
    await alice.credit.drain()
    balance = await alice.credit.balance()
    assert [peer.receipts for peer in balance.by_peer] == [100] * 4
    assert balance.half_entries == 0


async def test_the_same_request_again_gets_the_same_half_and_pays_once(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    receipt = await alice.credit.settle(body())
    assert await alice.send(BOB, receipt.body, receipt.requester_half) == receipt.worker_half
    assert (await bob.credit.balance()).earned_microcredits == 1_001


class SlowStore(MemoryReceiptStore):
    """Writes when its gate opens, and to the end once begun, as the thread of the real store does."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.writes = 0

    async def _turn(self) -> None:
        self.writes += 1
        with trio.CancelScope(shield=True):
            await self.gate.wait()

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        await self._turn()
        return await super().commit(entries)

    async def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        await self._turn()
        await super().keep_unsettled(new, settled)


async def test_a_requester_that_gives_up_during_the_write_has_been_paid_for_all_the_same_s_3(
    wire: Wire, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    bob = Party(wire, BOB, store := SlowStore())
    await nursery.start(bob.credit.run)
    bob.credit.expect(terms())
    signed = half(body(), ALICE)
    alice = WireTransport(wire, ALICE.peer_id)
    request = encode(SettleRequest(body(), signed))
    async with trio.open_nursery() as calls:

        async def give_up() -> None:
            with trio.move_on_after(1):
                await alice.call(BOB.peer_id, SETTLE_METHOD, request, timeout_s=1)

        calls.start_soon(give_up)
        await trio.sleep(5)
        store.gate.set()
    assert len(bob.credit.books.ledger) == 1, "what the store has counts"
    assert bob.credit.owed(ALICE.peer_id) == (0, 0)
    again = decode(Half, await alice.call(BOB.peer_id, SETTLE_METHOD, request, timeout_s=1))
    kept = await store.entry(body_digest(body()))
    assert kept is not None
    assert again == kept.worker_half
    assert again.content.number == 0, "it was signed once"


async def test_two_saves_that_overlap_write_one_after_the_other_x_1(
    wire: Wire, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    """The loop's and the one at the end of the node; the second strikes out nothing that the first did."""
    store = SlowStore()
    await MemoryReceiptStore.keep_unsettled(store, [UnsettledTask(terms(), 0)], [])  # of long ago: to be struck out
    bob = Party(wire, BOB, store)
    await nursery.start(bob.credit.run)
    bob.credit.expect(terms(2))
    async with trio.open_nursery() as saves:
        saves.start_soon(bob.credit._payee.save)
        saves.start_soon(bob.credit._payee.save)
        await trio.testing.wait_all_tasks_blocked()
        bob.credit.expect(terms(3))
        store.gate.set()
    assert [task.terms.task for task in await store.unsettled()] == [terms(2).task, terms(3).task]
    assert store.writes == 2


async def test_a_task_whose_receipt_was_stored_before_a_crash_is_not_paid_twice_c_4(
    wire: Wire, nursery: trio.Nursery
) -> None:
    store = MemoryReceiptStore()
    await store.keep_unsettled([UnsettledTask(terms(1), NOON_US), UnsettledTask(terms(2), NOON_US)], [])
    await store.commit([entry(receipt(1))])  # and the node crashed before it struck the task out
    bob = Party(wire, BOB, store)
    await nursery.start(bob.credit.run)
    alice = Party(wire, ALICE)
    assert bob.credit.owed(ALICE.peer_id)[0] == 1
    assert await alice.send(BOB, body(1), half(body(1), ALICE)) == receipt(1).worker_half
    other = replace(body(1), service_us=body(1).service_us + 1)
    with pytest.raises(RefusedError, match=Problem.UNKNOWN_TASK):
        await alice.send(BOB, other, half(other, ALICE))
    await bob.credit._payee.save()
    assert [task.terms.task for task in await store.unsettled()] == [terms(2).task]


async def test_the_same_request_twice_at_once_is_signed_once(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    halves: list[Half] = []
    signed = half(body(), ALICE)

    async def send() -> None:
        halves.append(await alice.send(BOB, body(), signed))

    async with trio.open_nursery() as both:
        both.start_soon(send)
        both.start_soon(send)
    assert halves[0] == halves[1]


async def test_one_task_is_not_paid_twice(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    await alice.credit.settle(body())
    with pytest.raises(RefusedError, match="not among those"):
        await alice.credit.settle(body(epoch=body().epoch + 1))
    assert bob.credit.refused[Problem.UNKNOWN_TASK] == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"share_microcredits": 1_000}, Problem.OTHER_TERMS),
        ({"service_us": 1}, Problem.OTHER_TERMS),
        ({"share_microcredits": 5_000}, Problem.SHARE_ABOVE_PRICE),
        ({"epoch": body().epoch + 2}, Problem.WRONG_EPOCH),
        ({"epoch": body().epoch - 2}, Problem.WRONG_EPOCH),
        ({"worker": CAROL}, Problem.WRONG_SIGNER),
        ({"requester": CAROL}, Problem.WRONG_SIGNER),
    ],
)
async def test_a_worker_refuses_another_statement_and_keeps_the_task(
    alice: Party, bob: Party, changes: dict[str, Any], problem: Problem
) -> None:
    bob.credit.expect(terms())
    statement = body(**changes)
    with pytest.raises(RefusedError, match="not signed here"):
        await alice.send(BOB, statement, half(statement, changes.get("requester", ALICE)))
    assert bob.credit.refused == {problem: 1}
    assert await bob.store.head(BOB.peer_id) is None
    assert (await alice.credit.settle(body())).body == body()


async def test_a_worker_refuses_a_wrong_signature_and_malformed_bytes(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    signed = half(body(), ALICE)
    with pytest.raises(RefusedError, match="signature"):
        await alice.send(BOB, body(), replace(signed, signature=bytes(64)))
    with pytest.raises(ProtocolError):
        await alice.transport.call(BOB.peer_id, SETTLE_METHOD, b"\xff", timeout_s=1)
    assert bob.credit.refused == {Problem.WRONG_SIGNATURE: 1}


async def test_a_requester_does_not_sign_what_it_must_not(alice: Party) -> None:
    for statement in (body(epoch=body().epoch + 2), body(requester=CAROL), body(worker=ALICE)):
        with pytest.raises(InputError, match="does not sign"):
            await alice.credit.settle(statement)
    assert await alice.store.head(ALICE.peer_id) is None


async def test_an_invalid_answer_is_not_kept_but_ones_own_half_is(alice: Party, wire: Wire) -> None:
    mallory = WireTransport(wire, BOB.peer_id)

    async def answer(request: object) -> bytes:
        return encode(half(body(2), BOB))

    mallory.handle(SETTLE_METHOD, answer)
    with pytest.raises(ProtocolError, match="invalid half"):
        await alice.credit.settle(body())
    kept = await alice.store.entry(body_digest(body()))
    assert kept is not None
    assert kept.requester_half is not None
    assert kept.worker_half is None
    assert alice.credit.refused == {Problem.WRONG_BODY: 1}


async def test_a_settlement_that_finds_nobody_is_tried_again_later(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    bob.credit.expect(terms())
    lost = 0

    async def fail(peer_id: PeerId) -> None:
        nonlocal lost
        if lost < 3:
            lost += 1
            raise PeerLostError("gone")

    wire.before = fail
    alice.credit.settle_later(body())
    await alice.credit.drain()
    assert (await alice.credit.balance()).half_entries == 1
    await trio.sleep(sum(RETRY_DELAYS_US[:3]) / 1e6 + 1)
    assert (await alice.credit.balance()).half_entries == 0
    assert (await alice.store.head(ALICE.peer_id) or half(body(), ALICE)).content.number == 0, "signed once"


async def test_an_answer_lost_on_the_way_is_fetched_by_the_retry(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    bob.credit.expect(terms())
    lost = 0

    async def lose(peer_id: PeerId) -> None:
        nonlocal lost
        lost += 1
        if lost == 1:
            raise DeadlineError("too late")

    wire.after = lose
    alice.credit.settle_later(body())
    await trio.sleep(2)
    assert (await alice.credit.balance()).spent_microcredits == 1_001
    assert (await bob.credit.balance()).earned_microcredits == 1_001


async def test_a_worker_that_reconnects_is_asked_at_once(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    bob.credit.expect(terms())
    end = wire.ends.pop(BOB.peer_id)
    alice.credit.settle_later(body())
    await trio.sleep(sum(RETRY_DELAYS_US) / 1e6 + 100)
    assert (await alice.credit.balance()).half_entries == 1
    wire.ends[BOB.peer_id] = end
    for listener in alice.transport.listeners:
        listener(PeerEvent(BOB.peer_id, connected=True))
    await trio.testing.wait_all_tasks_blocked()
    assert (await alice.credit.balance()).half_entries == 0


async def test_a_refused_settlement_is_not_tried_again(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    calls = 0

    async def count(peer_id: PeerId) -> None:
        nonlocal calls
        calls += 1

    wire.before = count
    alice.credit.settle_later(body())
    await trio.sleep(10_000)
    assert calls == 1


async def test_what_was_unfinished_is_settled_after_a_restart(wire: Wire, bob: Party, autojump_clock: object) -> None:
    store = MemoryReceiptStore()
    end = wire.ends.pop(BOB.peer_id)
    async with trio.open_nursery() as nursery:
        first = Party(wire, ALICE, store)
        await nursery.start(first.credit.run)
        with pytest.raises(PeerLostError):
            await first.credit.settle(body())
        nursery.cancel_scope.cancel()
    wire.ends[BOB.peer_id] = end
    bob.credit.expect(terms())
    async with trio.open_nursery() as nursery:
        second = Party(wire, ALICE, store)
        await nursery.start(second.credit.run)
        await trio.testing.wait_all_tasks_blocked()
        assert (await second.credit.balance()).spent_microcredits == 1_001
        nursery.cancel_scope.cancel()


async def test_a_late_settlement_may_name_the_hour_of_the_answer(alice: Party, bob: Party) -> None:
    bob.credit.expect(terms())
    signed = half(body(), ALICE)
    bob.clock.now_us += 30 * EPOCH_US
    made = Receipt(body(), signed, await alice.send(BOB, body(), signed))
    assert receipt_problem(made) is None


async def test_settling_later_never_waits_and_one_deaf_peer_delays_nobody(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    async def deaf(peer_id: PeerId) -> None:
        if peer_id == CAROL.peer_id:
            await trio.sleep(10)
            raise DeadlineError("no answer")

    wire.before = deaf
    for number in range(1_000):
        alice.credit.settle_later(body(number, worker=CAROL))
    bob.credit.expect(terms(1))
    alice.credit.settle_later(body(1))
    await trio.sleep(1)
    assert (await bob.credit.balance()).earned_microcredits == 1_001


# --- what a worker remembers


async def test_unsettled_tasks_and_lines_of_invites_outlive_the_end_of_a_node(
    wire: Wire, alice: Party, autojump_clock: object
) -> None:
    store = MemoryReceiptStore()
    async with trio.open_nursery() as nursery:
        first = Party(wire, BOB, store)
        await nursery.start(first.credit.run)
        first.credit.expect(terms(1))
        await first.credit.redeem(CAROL.peer_id, b"t" * 16, 77)
        await trio.sleep(1)
        first.credit.expect(terms(2))
        nursery.cancel_scope.cancel()
    assert [task.terms for task in await store.unsettled()] == [terms(1), terms(2)]
    async with trio.open_nursery() as nursery:
        second = Party(wire, BOB, store)
        await nursery.start(second.credit.run)
        assert second.credit.owed(ALICE.peer_id)[0] == 2
        assert second.credit.credit_of(CAROL.peer_id).line == 77
        await alice.credit.settle(settlement_body([terms(1), terms(2)]))
        await trio.sleep(120)
        assert await store.unsettled() == []
        nursery.cancel_scope.cancel()


async def test_a_task_that_is_settled_at_once_is_not_written_down(bob: Party, alice: Party, monkeypatch: Any) -> None:
    written: list[object] = []

    async def keep(new: object, settled: object) -> None:
        written.append(new)

    monkeypatch.setattr(bob.store, "keep_unsettled", keep)
    for number in range(50):
        bob.credit.expect(terms(number))
        await alice.credit.settle(body(number))
    await bob.credit._payee.save()
    assert written == []


async def test_what_a_full_disk_does_not_take_is_written_down_once_it_does(
    autojump_clock: trio.testing.MockClock, bob: Party, monkeypatch: Any
) -> None:
    keep, failures = bob.store.keep_unsettled, 3

    async def fail_at_first(new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise UnavailableError("the disk is full")
        await keep(new, settled)

    monkeypatch.setattr(bob.store, "keep_unsettled", fail_at_first)
    bob.credit.expect(terms(1))
    await trio.sleep(1)
    bob.credit.expect(terms(2))
    await trio.sleep(30)
    assert [task.terms for task in await bob.store.unsettled()] == [terms(1), terms(2)]


async def test_a_requester_that_withholds_its_signature_is_served_last_until_it_signs_c_13(
    alice: Party, bob: Party, mock_clock: object
) -> None:
    bob.credit.expect(terms(1))
    bob.clock.now_us += WITHHELD_AFTER_US
    assert not bob.credit.withholds(ALICE.peer_id)
    bob.clock.now_us += 1
    assert bob.credit.withholds(ALICE.peer_id)
    assert not bob.credit.withholds(CAROL.peer_id)
    assert (await bob.credit.admit(ALICE.peer_id, 1)).priority[0] == Rank.WITHHOLDING
    with pytest.raises(RefusedError):
        await alice.credit.settle(settlement_body([terms(1, items=9)]))
    assert bob.credit.withholds(ALICE.peer_id), "a wrong settlement does not help"
    await alice.credit.settle(body(1))
    assert not bob.credit.withholds(ALICE.peer_id)


@pytest.mark.parametrize("set_by_us", [30 * 86_400_000_000, -30 * 86_400_000_000])
async def test_setting_the_clock_makes_nobody_withhold_or_stop_withholding_c_13(
    wire: Wire, nursery: trio.Nursery, set_by_us: int
) -> None:
    store = MemoryReceiptStore()
    bob = Party(wire, BOB, store)
    await nursery.start(bob.credit.run)
    bob.clock.now_us += WITHHELD_AFTER_US + 1
    began_us = bob.clock.now_us
    bob.credit.expect(terms(1))
    bob.clock.ahead_us = set_by_us
    assert not bob.credit.withholds(ALICE.peer_id)
    bob.clock.now_us += WITHHELD_AFTER_US + 1
    assert bob.credit.withholds(ALICE.peer_id)
    await bob.credit._payee.save()
    [kept] = [task.answered_us for task in await store.unsettled()]
    assert abs(kept - began_us - set_by_us) < 1_000_000, "on disk by the clock of now"


async def test_who_signs_for_nearly_everything_may_leave_a_twentieth_unpaid_c_13(alice: Party, bob: Party) -> None:
    for number in range(1, 23):
        bob.credit.expect(terms(number))
        await alice.credit.settle(body(number))
    bob.credit.expect(terms(23))
    bob.clock.now_us += WITHHELD_AFTER_US + 1
    assert not bob.credit.withholds(ALICE.peer_id)
    bob.credit.expect(terms(24))
    bob.clock.now_us += WITHHELD_AFTER_US + 1
    assert bob.credit.withholds(ALICE.peer_id)


async def test_time_in_which_the_worker_was_away_is_not_withholding(wire: Wire, nursery: trio.Nursery) -> None:
    store = MemoryReceiptStore()
    await store.keep_unsettled([UnsettledTask(terms(1), 0)], [])
    party = Party(wire, BOB, store)
    await nursery.start(party.credit.run)
    assert party.credit.owed(ALICE.peer_id)[0] == 0, "older than the horizon: forgotten"
    await store.keep_unsettled([UnsettledTask(terms(2), party.clock.now_us - WITHHELD_AFTER_US)], [])
    again = Party(Wire(), BOB, store)
    await nursery.start(again.credit.run)
    assert again.credit.owed(ALICE.peer_id)[0] == 1
    assert not again.credit.withholds(ALICE.peer_id)


# --- games


def shared_game(price: int = 3_003) -> BatchGame:
    """Bob and Carol did one chunk together, Bob another one alone."""
    both = (BOB.peer_id, CAROL.peer_id)
    return BatchGame(price, (Chunk(price // 3 * 2, 2, both), Chunk(price // 3, 1, (BOB.peer_id,))))


async def offers(alice: Party, text: bytes) -> None:
    digest = hashlib.sha256(text).digest()
    await alice.store.keep_games([Game(digest, body().epoch, text)])


async def test_a_share_of_a_game_is_recomputed_before_it_is_signed_and_the_game_kept_by_both(
    alice: Party, bob: Party
) -> None:
    text = game_text(shared_game())
    await offers(alice, text)
    made = terms(1, share_microcredits=2_002)
    bob.credit.expect(made)
    digest = hashlib.sha256(text).digest()
    receipt = await alice.credit.settle(settlement_body([made], game=digest, price_microcredits=3_003))
    assert receipt_problem(receipt) is None
    assert [game.text for game in await bob.store.games([digest])] == [text]


@pytest.mark.parametrize(
    ("text", "price", "reason"),
    [
        (game_text(shared_game()), 9_009, "about 3003 micro-credits"),
        (game_text(shared_game(6_006)), 6_006, "the worker gets 4004"),
        (game_text(SpeculativeGame(3_003, {CAROL.peer_id: 5})), 3_003, "another digest"),  # it is not told
        (game_text(CappedGame(3_003, 1, {BOB.peer_id: 1})), 3_003, "has no formula"),
        (b"", 3_003, "another digest"),
    ],
)
async def test_a_game_that_does_not_give_this_share_is_not_signed_and_moves_nothing(
    alice: Party, bob: Party, text: bytes, price: int, reason: str
) -> None:
    await offers(alice, text or b"unknown to its own requester")
    made = terms(1, share_microcredits=2_002)
    bob.credit.expect(made)
    digest = hashlib.sha256(text).digest() if text else bytes(31) + b"x"
    with pytest.raises(RefusedError, match=reason):
        await alice.credit.settle(settlement_body([made], game=digest, price_microcredits=price))
    assert bob.credit.refused == {Problem.WRONG_GAME: 1}
    assert (await bob.credit.balance()).earned_microcredits == 0
    assert bob.credit.owed(ALICE.peer_id) == (1, 2_002)
    assert bob.credit.books.ledger.standings() == {}


async def test_a_game_is_told_to_its_players_only(alice: Party, bob: Party, wire: Wire) -> None:
    text = game_text(BatchGame(5, (Chunk(5, 1, (BOB.peer_id,)),)))
    await offers(alice, text)
    asked = encode(GameRequest(hashlib.sha256(text).digest()))
    curious = WireTransport(wire, CAROL.peer_id)
    for transport, known in ((bob.transport, text), (curious, b"")):
        answer = await transport.call(ALICE.peer_id, GAME_METHOD, asked, timeout_s=1)
        assert decode(GameAnswer, answer).text == known


async def test_tasks_settled_together_name_their_batch_game(alice: Party, bob: Party) -> None:
    tasks = [terms(number) for number in range(1, 5)]
    for task in tasks:
        bob.credit.expect(task)
    for task in tasks:
        alice.credit.settle_task(task)
    await alice.credit.drain()
    history = await bob.credit.history(10)
    assert [len(one.entry.body.tasks) for one in history] == [3, 1]
    (joint, single) = (one.entry.body for one in history)
    game = sole_game(BOB.peer_id, (task.share_microcredits for task in tasks[1:]))
    assert joint.game_digest == game_digest(game)
    for party in (alice, bob):
        assert [kept.text for kept in await party.store.games([joint.game_digest])] == [game_text(game)]
    assert single_game_text(single) == game_text(sole_game(BOB.peer_id, [1_001]))
    assert single_game_text(joint) is None


async def test_a_signature_that_does_not_come_holds_up_no_other_task_of_the_same_worker(
    alice: Party, bob: Party, wire: Wire, autojump_clock: object
) -> None:
    calls = 0

    async def deaf_at_first(peer_id: PeerId) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            await trio.sleep(10)
            raise DeadlineError("no answer")

    wire.before = deaf_at_first
    for number in range(4):
        bob.credit.expect(terms(number))
        alice.credit.settle_task(terms(number))
    await trio.sleep(0.5)
    assert (await bob.credit.balance()).earned_microcredits == 1_001 + 1_002 + 1_003
    await trio.sleep(12)
    assert bob.credit.owed(ALICE.peer_id) == (0, 0), "the first is tried again"


async def test_hundreds_of_tasks_with_one_worker_need_few_receipts(alice: Party, bob: Party) -> None:
    for number in range(400):
        bob.credit.expect(terms(number))
        alice.credit.settle_task(terms(number))
    await alice.credit.drain()
    history = await alice.credit.history(1_000)
    assert sum(len(one.entry.body.tasks) for one in history) == 400
    assert len(history) <= 1 + 400 // 20
    assert bob.credit.owed(ALICE.peer_id) == (0, 0)
