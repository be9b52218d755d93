from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.archive import Refusal
from swarmharness.credit.chain import place_after
from swarmharness.credit.forks import ForkProof, ProofProblem, fork_proof
from swarmharness.credit.importing import Importer
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import Problem, Receipt, body_digest
from swarmharness.credit.writer import ChainWriter
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, HandClock, body, entry, half, receipt


def importer(store: MemoryReceiptStore, *, running: bool = False) -> Importer:
    return Importer(store, CAROL.peer_id, HandClock(), running=running)


async def test_new_known_and_refused_are_counted_and_only_the_good_are_kept() -> None:
    store = MemoryReceiptStore()
    forged = replace(entry(receipt(2)), worker_half=replace(receipt(2).worker_half, signature=bytes(64)))
    first = await importer(store).take([entry(receipt(1)), forged])
    assert first.as_dict() == {"new": 1, "known": 0, "proofs": 0, "games": 0, "refused": {Problem.WRONG_SIGNATURE: 1}}
    again = await importer(store).take([entry(receipt(1))])
    assert (again.new, again.known) == (0, 1)
    assert await store.entry(body_digest(body(2))) is None


async def test_a_receipt_twice_in_one_file_counts_once_c_4() -> None:
    store = MemoryReceiptStore()
    done = await importer(store).take([entry(receipt(1)), entry(receipt(1))])
    assert done.new == 1
    assert len(await store.claims(oldest_epoch=0)) == 1


async def test_a_half_that_was_missing_is_new() -> None:
    store = MemoryReceiptStore()
    own = receipt(1, ALICE, CAROL)
    await store.commit([entry(own, requester=False)])
    done = await importer(store, running=True).take([entry(own)])
    assert (done.new, done.known) == (1, 0)
    kept = await store.entry(body_digest(own.body))
    assert kept is not None
    assert kept.receipt == own


async def test_listeners_hear_of_whole_receipts_and_of_forks() -> None:
    store = MemoryReceiptStore()
    heard: list[Receipt] = []
    proofs: list[ForkProof] = []
    taking = Importer(store, CAROL.peer_id, HandClock(), running=True, on_receipts=heard.extend, on_proof=proofs.append)
    await taking.take([entry(receipt(1)), entry(receipt(2, ALICE, CAROL), worker=False)])
    assert heard == [receipt(1)]
    assert [proof.signer for proof in proofs] == [ALICE.peer_id]


async def test_a_running_node_takes_no_unknown_half_of_its_own_chain_c_17() -> None:
    store = MemoryReceiptStore()
    done = await importer(store, running=True).take([entry(receipt(1, ALICE, CAROL))])
    assert done.refused == {Refusal.OWN_CHAIN: 1}
    assert await store.sealed() == -1


async def test_after_an_import_of_own_halves_the_chain_begins_anew_c_17() -> None:
    store = MemoryReceiptStore()
    own = receipt(1, ALICE, CAROL)
    assert (await importer(store).take([entry(own)])).new == 1
    writer = ChainWriter(store, CAROL, HandClock(NOON_US - 5))
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        first = await writer.sign(body(2, ALICE, CAROL))
        second = await writer.sign(body(3, ALICE, CAROL))
        nursery.cancel_scope.cancel()
    assert first.content.incarnation == own.worker_half.content.incarnation + 1
    assert first.content.number == 0
    assert place_after(first).number == second.content.number


async def test_proofs_are_checked() -> None:
    store = MemoryReceiptStore()
    proof = fork_proof(half(body(1), BOB), half(body(2), BOB))
    assert proof is not None
    forged = replace(proof, other=replace(proof.other, signature=bytes(64)))
    done = await importer(store).take_proofs([forged, proof, proof])
    assert (done.proofs, done.refused) == (1, {ProofProblem.INVALID_HALF: 1})


@pytest.mark.parametrize(("stored_us", "kept_us"), [(NOON_US + 10**12, NOON_US), (-5, 0), (7, 7)])
async def test_when_it_was_stored_lies_in_the_past(stored_us: int, kept_us: int) -> None:
    store = MemoryReceiptStore()
    entries: Sequence[Entry] = [entry(receipt(1), stored_us=stored_us)]
    await importer(store).take(entries)
    kept = await store.entry(body_digest(body(1)))
    assert kept is not None
    assert kept.stored_us == kept_us
