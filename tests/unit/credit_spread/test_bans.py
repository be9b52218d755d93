from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.credit.chain import opening
from swarmharness.credit.forks import ForkProof, fork_proof
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.spread import bans as bans_module
from swarmharness.credit.spread.bans import Bans
from swarmharness.credit.spread.intake import SpreadProblem
from swarmharness.credit.spread.messages import FORKS_TOPIC
from swarmharness.credit.spread.neighbourhood import split_ids
from swarmharness.identity import Identity, PeerId
from swarmharness.network.ports import BroadcastHandler
from swarmharness.protocol.codec import encode
from swarmharness.refusals import Tally
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, HandClock, body, half, identity


class Ears:
    """A `Broadcast` that keeps what is published."""

    def __init__(self) -> None:
        self.published: list[bytes] = []
        self.handlers: dict[str, BroadcastHandler] = {}

    def subscribe(self, topic: str, handler: BroadcastHandler) -> None:
        self.handlers[topic] = handler

    async def publish(self, topic: str, data: bytes) -> None:
        assert topic == FORKS_TOPIC
        self.published.append(data)

    async def hear(self, data: bytes) -> bool:
        return await self.handlers[FORKS_TOPIC](CAROL.peer_id, data)


def proof_against(who: Identity, first: int = 1) -> ForkProof:
    place = opening(0, NOON_US)
    proof = fork_proof(half(body(first), who, place=place), half(body(first + 1), who, place=place))
    assert proof is not None
    return proof


@pytest.fixture
def ears() -> Ears:
    return Ears()


@pytest.fixture
def store() -> MemoryReceiptStore:
    return MemoryReceiptStore()


@pytest.fixture
def refused() -> Tally:
    return Tally()


@pytest.fixture
async def bans(store: MemoryReceiptStore, ears: Ears, refused: Tally, nursery: trio.Nursery) -> Bans:
    made = Bans(store, ears, ALICE.peer_id, HandClock(), refused=refused)
    nursery.start_soon(made.run)
    return made


async def test_a_proof_bans_its_signer_is_kept_and_told_once_c_15_c_23(
    bans: Bans, store: MemoryReceiptStore, ears: Ears
) -> None:
    heard: list[PeerId] = []
    bans.listeners.append(heard.append)
    proof = proof_against(BOB)
    assert await bans.take(proof, sender=CAROL.peer_id)
    assert not await bans.take(proof_against(BOB, 5), sender=CAROL.peer_id)
    bans.found(proof)
    await trio.testing.wait_all_tasks_blocked()
    assert bans.is_banned(BOB.peer_id)
    assert bans.banned() == {BOB.peer_id}
    assert heard == [BOB.peer_id]
    assert await store.forks() == [proof]
    assert ears.published == [encode(proof)]


async def test_a_proof_that_was_broadcast_goes_on_by_itself_c_23(bans: Bans, ears: Ears) -> None:
    proof = proof_against(BOB)
    assert await ears.hear(encode(proof))
    assert not await ears.hear(encode(proof))
    await trio.testing.wait_all_tasks_blocked()
    assert bans.is_banned(BOB.peer_id)
    assert ears.published == []


async def test_what_proves_nothing_is_counted_and_goes_no_further(
    bans: Bans, store: MemoryReceiptStore, ears: Ears, refused: Tally
) -> None:
    proof = proof_against(BOB)
    forged = replace(proof, one=replace(proof.one, signature=bytes(64)))
    same = ForkProof(proof.one, proof.one)
    swapped = ForkProof(proof.other, proof.one)
    assert [await ears.hear(encode(bad)) for bad in (forged, same, swapped)] == [False] * 3
    assert not await ears.hear(b"\x00")
    assert refused == Counter({SpreadProblem.INVALID_PROOF: 3, SpreadProblem.MALFORMED: 1})
    assert not bans.is_banned(BOB.peer_id)
    assert await store.forks() == []


async def test_a_sender_of_many_proofs_is_slowed_down_c_24(
    bans: Bans, refused: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    proofs = [proof_against(identity(number)) for number in range(100, 180)]
    taken = [await bans.take(proof, sender=CAROL.peer_id) for proof in proofs]
    assert sum(taken) == bans_module._PROOFS_BURST
    assert refused == Counter({SpreadProblem.SENDER_TOO_FAST: 80 - bans_module._PROOFS_BURST})
    monkeypatch.setattr(bans_module, "PROOFS_KEPT_MAX", sum(taken))
    assert not await bans.take(proofs[-1], sender=BOB.peer_id)


async def test_the_own_key_is_not_banned_by_its_own_node(bans: Bans) -> None:
    heard: list[PeerId] = []
    bans.listeners.append(heard.append)
    assert await bans.take(proof_against(ALICE), sender=CAROL.peer_id)
    assert not bans.is_banned(ALICE.peer_id)
    assert bans.banned() == frozenset()
    assert heard == []


async def test_bans_survive_a_restart_and_are_offered_to_those_who_lack_them(
    bans: Bans, store: MemoryReceiptStore, ears: Ears
) -> None:
    proof = proof_against(BOB)
    await bans.take(proof, sender=CAROL.peer_id)
    again = Bans(store, ears, ALICE.peer_id, HandClock(), refused=Tally())
    heard: list[PeerId] = []
    again.listeners.append(heard.append)
    await again.load()
    assert again.is_banned(BOB.peer_id)
    assert heard == [BOB.peer_id]
    assert again.lacking(frozenset()) == (proof,)
    assert again.lacking(split_ids(bans.forkers())) == ()
