"""Measures what spreading receipts costs: a reconciliation of large sets, and checking and storing what peers send."""

from __future__ import annotations

import hashlib
import random
import tempfile
import time
from functools import partial
from pathlib import Path

import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.harness import Row, interleave_async, judge, median
from swarmharness.credit.accounts import Entry
from swarmharness.credit.chain import opening, place_after
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.receipt import ZERO_DIGEST, Half, Receipt, ReceiptBody, body_digest, epoch_of, sign_half
from swarmharness.credit.spread.intake import Intake
from swarmharness.credit.spread.messages import BATCH_MAX, Gossip
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.service import SpreadService
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.terms import TaskTerms, settlement_body
from swarmharness.identity import Identity
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_broadcast import MemoryBroadcast
from swarmharness.network.ports import PeerAddress
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Tally

NAME = "spread"
DESCRIPTION = "reconciliation of 100,000 receipts with 100 differences; receipts of peers checked and stored"

_RECEIPTS = 100_000
_DIFFERENCES = 100
_PEERS = 200
_SENDERS = 4


def run(quick: bool) -> list[Row]:
    """Measure the goals of spreading."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *trio.run(partial(_reconciliation, 1 if quick else 5)),
            trio.run(partial(_intake, Path(folder), 1_000 if quick else 4_000)),
        ]


class _Chains:
    """Signs receipts, every key in its own chain."""

    def __init__(self) -> None:
        self._heads: dict[str, Half] = {}
        self._number = 0

    def receipt(self, requester: Identity, worker: Identity, epoch: int) -> Receipt:
        self._number += 1
        digest = self._number.to_bytes(32, "big")
        terms = TaskTerms(
            *(self._number.to_bytes(16, "big"), requester.peer_id, worker.peer_id, epoch, 1_000, ZERO_DIGEST),
            *(digest, digest, "text-embedding", 1, 1_000),
        )
        body = settlement_body([terms])
        return Receipt(body, self._half(body, requester), self._half(body, worker))

    def _half(self, body: ReceiptBody, who: Identity) -> Half:
        head = self._heads.get(who.peer_id)
        place = place_after(head) if head else opening(0, 1)
        self._heads[who.peer_id] = sign_half(
            who, body_digest(body), incarnation=place.incarnation, number=place.number, previous=place.previous
        )
        return self._heads[who.peer_id]


def _entry(receipt: Receipt) -> Entry:
    return Entry(receipt.body, receipt.requester_half, receipt.worker_half, 1)


async def _reconciliation(rounds: int) -> list[Row]:
    """Two nodes and 200 partners of both; half of the differences are missing on either side.

    Receipts that both have are only digests in the index: nobody ever asks for them.
    """
    traffic, cold_s, warm_s = [], [], []
    for seed in range(rounds):
        async with MemoryNetwork() as network, trio.open_nursery() as nursery:
            ends = [await nursery.start(_node, network, number) for number in (1, 2)]
            one, two = (spread for spread, _ in ends)
            await _fill(random.Random(seed), ends)
            began = time.perf_counter()
            outcome = await one.reconcile(two.near.me)
            cold_s.append(time.perf_counter() - began)
            traffic.append((outcome.bytes_sent + outcome.bytes_received) / 1e3)
            began = time.perf_counter()
            again = await one.reconcile(two.near.me)
            warm_s.append(time.perf_counter() - began)
            if len(one.near) != len(two.near) or again.received or again.pushed:
                raise RuntimeError("the benchmark's reconciliation left differences")
            nursery.cancel_scope.cancel()
    return [
        judge("reconciliation, receipts included, both directions", max(traffic), "kB", at_most=200),
        judge("  its time, with the index to be made on both sides", median(cold_s) * 1e3, "ms"),
        judge("  one more, nothing differs", median(warm_s) * 1e3, "ms"),
    ]


async def _node(
    network: MemoryNetwork, number: int, *, task_status: trio.TaskStatus[tuple[SpreadService, MemoryReceiptStore]]
) -> None:
    me, store, clock = Identity(number.to_bytes(32, "big")), MemoryReceiptStore(), SystemClock()
    async with network.node(me.peer_id) as transport, MemoryBroadcast(transport) as broadcast:
        for other in (Identity(bytes(31) + b"\x01"), Identity(bytes(31) + b"\x02")):
            transport.add_addresses(PeerAddress(other.peer_id, (f"/memory/{other.peer_id}",)))
        settings = SpreadSettings(stagger_s=3_600, followed_max=_PEERS)  # it begins nothing by itself
        spread = SpreadService(store, transport, broadcast, clock, SystemRandomness(), settings=settings)
        async with trio.open_nursery() as nursery:
            await nursery.start(spread.run)
            task_status.started((spread, store))
            await trio.sleep_forever()


async def _fill(chance: random.Random, ends: list[tuple[SpreadService, MemoryReceiptStore]]) -> None:
    now = epoch_of(SystemClock().unix_us())
    peers = [Identity(number.to_bytes(32, "big")) for number in range(10, 10 + _PEERS)]
    await trio.sleep(0.1)  # both have read their empty stores
    for spread, _ in ends:
        for peer in peers:
            digest = hashlib.sha256(f"{spread.near.me} {peer.peer_id}".encode()).digest()
            for each, _ in ends:
                each.near.add(now, digest, spread.near.me, peer.peer_id)
    for _ in range(_RECEIPTS - _DIFFERENCES - 2 * _PEERS):
        requester, worker = chance.sample(peers, 2)
        epoch, digest = now - chance.randrange(700), chance.randbytes(32)
        for spread, _ in ends:
            spread.near.add(epoch, digest, requester.peer_id, worker.peer_id)
    chains = _Chains()
    for number in range(_DIFFERENCES):
        spread, store = ends[number % 2]
        requester, worker = chance.sample(peers, 2)
        receipt = chains.receipt(requester, worker, now - chance.randrange(700))
        await store.commit([_entry(receipt)])
        body = receipt.body
        spread.near.add(body.epoch, body_digest(body), body.requester, body.worker)


async def _intake(folder: Path, count: int) -> Row:
    """Messages of 64 receipts from four peers at once: decoded, judged, verified, stored on disk, and indexed."""
    clock, chains = SystemClock(), _Chains()
    now = epoch_of(clock.unix_us())
    me, *others = [Identity(number.to_bytes(32, "big")) for number in range(1, 50)]
    pairs = [random.Random(number).sample(others, 2) for number in range(count)]
    receipts = [chains.receipt(requester, worker, now) for requester, worker in pairs]
    messages = [encode(Gossip(tuple(receipts[at : at + BATCH_MAX]))) for at in range(0, count, BATCH_MAX)]
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key(), b"m" * 200
    signature = key.sign(message)
    numbers = iter(range(10**9))

    async def bare() -> float:
        began = time.perf_counter()
        for _ in range(2 * count):
            public.verify(signature, message)
        return 2 * count / (time.perf_counter() - began)

    async def stored() -> float:
        near = Neighbourhood(me.peer_id, now, followed_max=len(others))
        for number, other in enumerate(others):
            near.add(now, number.to_bytes(32, "big"), me.peer_id, other.peer_id)
        async with open_sqlite_store(folder / f"{next(numbers)}.db", owner=me.peer_id, unix_us=1) as store:
            refused = Tally()
            intake = Intake(
                store,
                near,
                clock,
                SpreadSettings(),
                refused=refused,
                on_proof=lambda proof: None,
            )
            waiting = iter(messages)

            async def send(sender: Identity) -> None:
                for data in waiting:
                    await intake.take(decode(Gossip, data).receipts, sender=sender.peer_id, asked=True)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for sender in others[:_SENDERS]:
                    nursery.start_soon(send, sender)
            took_s = time.perf_counter() - began
        if refused or len(near) != count + len(others):
            raise RuntimeError(f"the benchmark's receipts were refused: {refused}")
        return 2 * count / took_s

    stored_per_s, bare_per_s = await interleave_async(stored, bare, rounds=3)
    return judge(
        "signatures of peers' receipts, stored and indexed", stored_per_s, "1/s", floor=bare_per_s, ratio_at_least=0.6
    )
