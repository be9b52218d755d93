"""The contract of `ReceiptStore`, run against every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swarmharness.credit.chain import Place
from swarmharness.credit.forks import ForkProof, fork_proof, proof_problem
from swarmharness.credit.holds import STRANGERS, Hold
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import claim_of
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import ZERO_DIGEST, Receipt, body_digest
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.store import Game, Invited, ReceiptStore
from swarmharness.credit.terms import UnsettledTask
from swarmharness.identity import Identity
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, body, entry, half, identity, receipt, terms


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


async def test_the_same_receipt_again_changes_nothing_c_4(store: ReceiptStore) -> None:
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


async def test_a_fork_is_proved_once_and_its_receipts_still_count_c_15_c_16(store: ReceiptStore) -> None:
    assert await store.commit([entry(receipt(1, worker=CAROL))]) == ()
    assert await store.commit([entry(receipt(1, worker=CAROL))]) == (), "the same again is no fork"
    proofs = await store.commit([entry(receipt(2))])  # opens Alice's chain once more
    assert [proof.signer for proof in proofs] == [ALICE.peer_id]
    assert proof_problem(proofs[0]) is None
    assert await store.commit([entry(receipt(3, worker=identity(7)))]) == ()
    assert await store.forks() == list(proofs)
    assert (await store.balance(ALICE.peer_id)).spent_microcredits == 3_006


async def test_a_proof_from_elsewhere_is_kept_once(store: ReceiptStore) -> None:
    proof = fork_proof(half(body(1), ALICE), half(body(2), ALICE))
    assert proof is not None
    assert await store.keep_fork(proof)
    assert not await store.keep_fork(ForkProof(proof.one, half(body(3), ALICE)))
    assert await store.forks() == [proof]


async def test_claims_are_of_receipts_since_an_epoch_s_2(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(number, epoch=number)) for number in (7, 5, 6)])
    await store.commit([entry(receipt(8, epoch=8), worker=False)])
    assert await store.claims(oldest_epoch=6) == [claim_of(receipt(number, epoch=number).body) for number in (6, 7)]


async def test_incarnations_are_seen_with_the_epochs_of_their_receipts_c_18(store: ReceiptStore) -> None:
    for number, incarnation, epoch in ((1, 10, 100), (2, 10, 105), (3, 20, 110), (4, 20, 999)):
        made = body(number, epoch=epoch)
        place = Place(incarnation, number, b"p" * 32)
        await store.commit([entry(Receipt(made, half(made, ALICE, place=place), half(made, BOB)))])
    found = await store.sightings(oldest_epoch=100, newest_epoch=200)
    assert set(found) == {
        Sighting(ALICE.peer_id, 10, 105),
        Sighting(ALICE.peer_id, 20, 110),
        Sighting(BOB.peer_id, NOON_US, 110),
    }


async def test_holds_add_up_and_are_read_back_c_12(store: ReceiptStore) -> None:
    edge, line = ("ann", "me"), ("ann", "")
    await store.keep_holds([Hold(edge, 5, 10), Hold(edge, 5, 7), Hold(line, 6, 1), Hold(STRANGERS, 4, 2)])
    await store.keep_holds([Hold(edge, 5, 3)])
    assert set(await store.holds(oldest_epoch=5)) == {Hold(edge, 5, 20), Hold(line, 6, 1)}


async def test_pruning_forgets_what_passed_between_others_long_ago_c_8(store: ReceiptStore) -> None:
    old_own, old_other, new_other = (
        receipt(1, epoch=5),
        receipt(2, BOB, CAROL, epoch=5),
        receipt(3, BOB, CAROL, epoch=9),
    )
    await store.commit([entry(old_own), entry(old_other), entry(new_other)])
    await store.keep_holds([Hold(STRANGERS, 5, 1), Hold(STRANGERS, 9, 1)])
    assert await store.prune(ALICE.peer_id, oldest_epoch=9) == 1
    assert await store.entry(body_digest(old_other.body)) is None
    assert await store.entry(body_digest(old_own.body)) == entry(old_own)
    assert await store.entry(body_digest(new_other.body)) == entry(new_other)
    assert await store.holds(oldest_epoch=0) == [Hold(STRANGERS, 9, 1)]


async def test_pruning_goes_in_small_steps(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(number, BOB, CAROL, epoch=5)) for number in range(5)])
    assert [await store.prune(ALICE.peer_id, oldest_epoch=9, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.claims(oldest_epoch=0) == []


async def test_history_is_newest_first_and_only_of_the_peer(store: ReceiptStore) -> None:
    for number in range(1, 6):
        await store.commit([entry(receipt(number, requester_of(number), BOB))])
    numbers = [found.body.tasks[0][-1] for found in await store.history(ALICE.peer_id, limit=2)]
    assert numbers == [5, 3]


def requester_of(number: int) -> Identity:
    return ALICE if number % 2 else CAROL


async def test_partners_are_the_latest_first(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(1)), entry(receipt(2, CAROL, ALICE)), entry(receipt(3, BOB, CAROL))])
    assert await store.partners(ALICE.peer_id, limit=9) == [CAROL.peer_id, BOB.peer_id]
    await store.commit([entry(receipt(4), worker=False)])
    assert await store.partners(ALICE.peer_id, limit=1) == [BOB.peer_id]


async def test_unsettled_tasks_are_kept_until_they_are_settled(store: ReceiptStore) -> None:
    tasks = [UnsettledTask(terms(number), 100 - number) for number in range(3)]
    await store.keep_unsettled(tasks, [])
    await store.keep_unsettled(tasks[:1], tasks[1:2])
    assert await store.unsettled() == [tasks[2], tasks[0]]


async def test_games_are_kept_as_long_as_their_receipts(store: ReceiptStore) -> None:
    old, new = Game(b"a" * 32, 5, b"{old}"), Game(b"b" * 32, 7, b"{new}")
    await store.keep_games([old, new])
    await store.keep_games([new])
    assert await store.games([new.digest, bytes(32), old.digest]) == [new, old]
    await store.prune(CAROL.peer_id, oldest_epoch=6)
    assert await store.games([old.digest, new.digest]) == [new]


async def test_used_invites_are_remembered(store: ReceiptStore) -> None:
    used = Invited(b"t" * 16, ALICE.peer_id, 600)
    await store.keep_invited(used)
    assert await store.invited() == [used]


async def test_claims_come_in_pages_each_once(store: ReceiptStore) -> None:
    await store.commit([entry(receipt(number, epoch=number)) for number in (3, 7, 5, 6)])
    found, after = [], 0
    while page := await store.claims_page(oldest_epoch=5, after=after, limit=2):
        claims, after = page
        if not claims:
            break
        found += claims
    assert sorted(claim.epoch for claim in found) == [5, 6, 7]
