"""Measures attribution beside shapiq where it is installed, receipts beside bare Ed25519 and SQLite, and admission."""

from __future__ import annotations

import random
import sqlite3
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.harness import Row, interleave, interleave_async, judge
from swarmharness.credit.accounts import Entry
from swarmharness.credit.admission import Doubts, Policy, decide
from swarmharness.credit.attribution.capped import counted_values
from swarmharness.credit.attribution.exact import enumerated_values
from swarmharness.credit.attribution.games import CappedGame
from swarmharness.credit.attribution.sampling import sampled_values
from swarmharness.credit.attribution.table import TableGame
from swarmharness.credit.chain import opening, place_after
from swarmharness.credit.holds import Holds
from swarmharness.credit.ledger import HORIZON_EPOCHS, Claim, Ledger
from swarmharness.credit.receipt import (
    ZERO_DIGEST,
    Half,
    Receipt,
    ReceiptBody,
    body_digest,
    epoch_of,
    receipt_problem,
    sign_half,
)
from swarmharness.credit.service import CreditService
from swarmharness.credit.sqlite_audit import audit
from swarmharness.credit.sqlite_export import export
from swarmharness.credit.sqlite_file import ReceiptFile
from swarmharness.credit.sqlite_store import open_sqlite_store
from swarmharness.credit.terms import TaskTerms, settlement_body
from swarmharness.identity import Identity, PeerId
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.ports import PeerAddress
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.protocol.codec import decode, encode

NAME = "credit"
DESCRIPTION = "attribution against shapiq, receipts against bare signatures and commits, the ledger, admission"

_PERMUTATIONS = 4_096
_GROUP = 1_024
_NOW = 500_000


def run(quick: bool) -> list[Row]:
    """Measure the goals of credit."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            *_attribution(quick),
            *_accuracy((8, 16) if quick else (8, 16, 32, 64)),
            trio.run(partial(_verification, Path(folder), 1_000 if quick else 4_000)),
            *trio.run(partial(_settlement, Path(folder), 20 if quick else 200)),
            *_audit(Path(folder), 1_000 if quick else 10_000),
            *_ledger(Path(folder), 20_000 if quick else 100_000),
            _admission(),
        ]


def _seconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


# --- attribution


def _attribution(quick: bool) -> list[Row]:
    chance = random.Random(1)
    names = [f"p{number:02}" for number in range(14)]
    table = TableGame(
        1, tuple(names), {frozenset({a, b}): chance.randrange(1, 99) for a in names for b in names if a < b}
    )
    large = CappedGame(10**9, 10**9, {f"p{number:02}": chance.randrange(10**8) for number in range(64)})
    exact_s, sampled_s = interleave(
        lambda: _seconds(lambda: enumerated_values(table)),
        lambda: _seconds(lambda: sampled_values(large, b"seed", _PERMUTATIONS)),
        rounds=3 if quick else 9,
    )
    return [
        judge("exact attribution, 14 players", exact_s * 1e3, "ms", at_most=50),
        judge("sampled attribution, 64 players, 4096 permutations", sampled_s * 1e3, "ms", at_most=150),
    ]


def _accuracy(sizes: Sequence[int]) -> list[Row]:
    """Mean error, as a part of the price, at an equal number of evaluations of v; the floor is shapiq's sampling."""
    rows = []
    for players in sizes:
        chance = random.Random(players)
        game = CappedGame(1, 10 * players, {f"p{number:02}": chance.randrange(1, 50) for number in range(players)})
        exact = np.array([float(value) for _, value in sorted(counted_values(game).items())])
        sampled_values(game, b"warm", 2)
        began = time.perf_counter()
        found = sampled_values(game, b"seed", 512)
        rate = 512 / (time.perf_counter() - began)
        ours = np.array([float(value) for _, value in sorted(found.items())])
        theirs = _shapiq_errors(game, exact, budget=512 * players)
        error, their_rate = theirs.get("shapiq permutation", (None, None))
        rows += [
            judge(f"error of 512 permutations, {players} players", _error(ours, exact), "of price", floor=error),
            judge(f"permutations of {players} players", rate, "1/s", floor=their_rate),
        ]
        rows += [judge(f"  {name}, {players} players", error, "of price") for name, (error, _) in theirs.items()]
    return rows


def _error(found: Any, exact: Any) -> float:
    return float(np.abs(found / found.sum() - exact / exact.sum()).mean())


def _shapiq_errors(game: CappedGame, exact: Any, budget: int) -> dict[str, tuple[float, float]]:
    """Return each estimator's error, and how many times as many values as there are players it takes in a second."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from shapiq.approximator import KernelSHAP, PermutationSamplingSV
        except ImportError:
            return {}
        capacities = np.array([game.capacity[name] for name in game.players])

        def worth(coalitions: Any) -> Any:
            return np.minimum(np.atleast_2d(coalitions).astype(int) @ capacities, game.demand).astype(float)

        players = len(game.players)
        estimators = {
            "KernelSHAP": (KernelSHAP(players, random_state=1), min(budget, 2**players)),
            "permutation": (PermutationSamplingSV(players, random_state=1), budget),
        }
        results = {}
        for name, (estimator, evaluations) in estimators.items():
            began = time.perf_counter()
            found = estimator.approximate(evaluations, worth)
            rate = evaluations / players / (time.perf_counter() - began)
            results[f"shapiq {name}"] = (_error(found.get_n_order_values(1), exact), rate)
        return results


# --- receipts


def _receipts(count: int) -> list[bytes]:
    peers = [Identity(number.to_bytes(32, "big")) for number in range(1, 50)]
    heads: dict[str, Half] = {}

    def signed(body: ReceiptBody, who: Identity) -> Half:
        head = heads.get(who.peer_id)
        place = place_after(head) if head else opening(0, 1)
        half = sign_half(
            who, body_digest(body), incarnation=place.incarnation, number=place.number, previous=place.previous
        )
        heads[who.peer_id] = half
        return half

    made = []
    for number in range(count):
        requester, worker = peers[number % 49], peers[(number + 1 + number % 7) % 49]
        body = settlement_body([_terms(number, requester.peer_id, worker.peer_id, _NOW)])
        made.append(encode(Receipt(body, signed(body, requester), signed(body, worker))))
    return made


def _terms(number: int, requester: PeerId, worker: PeerId, epoch: int) -> TaskTerms:
    digest = number.to_bytes(32, "big")
    return TaskTerms(
        *(number.to_bytes(16, "big"), requester, worker, epoch, 1_000, ZERO_DIGEST),
        *(digest, digest, "text-embedding", 1, 1_000),
    )


async def _verification(folder: Path, count: int) -> Row:
    """Decode, verify both halves, store in groups, one group being stored while the next is verified."""
    encoded = _receipts(count)
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key(), b"m" * 200
    signature = key.sign(message)
    owner = Identity(bytes(32)).peer_id
    numbers = iter(range(10**9))

    async def bare() -> float:
        began = time.perf_counter()
        for _ in range(2 * count):
            public.verify(signature, message)
        return 2 * count / (time.perf_counter() - began)

    async def stored() -> float:
        async with open_sqlite_store(folder / f"verified-{next(numbers)}.db", owner=owner, unix_us=1) as store:
            began = time.perf_counter()
            sender, receiver = trio.open_memory_channel[list[Entry]](1)

            async def commit() -> None:
                async for group in receiver:
                    await store.commit(group)

            async with trio.open_nursery() as nursery, sender:
                nursery.start_soon(commit)
                for first in range(0, count, _GROUP):
                    group = [decode(Receipt, data) for data in encoded[first : first + _GROUP]]
                    if any(receipt_problem(receipt) for receipt in group):
                        raise RuntimeError("the benchmark made an invalid receipt")
                    await sender.send([Entry(r.body, r.requester_half, r.worker_half, 1) for r in group])
            return 2 * count / (time.perf_counter() - began)

    stored_per_s, bare_per_s = await interleave_async(stored, bare, rounds=5)
    return judge("signatures verified and stored", stored_per_s, "1/s", floor=bare_per_s, ratio_at_least=0.6)


async def _settlement(folder: Path, count: int) -> list[Row]:
    """From the answer until both sides hold both halves on disk; beside the three commits that this takes."""
    clock = SystemClock()
    alice, bob = Identity(bytes(31) + b"a"), Identity(bytes(31) + b"b")
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode = WAL")
    bare.execute("PRAGMA synchronous = FULL")
    bare.execute("CREATE TABLE t (x)")
    numbers = iter(range(10**9))
    async with (
        open_sqlite_store(folder / "a.db", owner=alice.peer_id, unix_us=1) as alice_store,
        open_sqlite_store(folder / "b.db", owner=bob.peer_id, unix_us=1) as bob_store,
        MemoryNetwork() as network,
        network.node(alice.peer_id) as alice_end,
        network.node(bob.peer_id) as bob_end,
        trio.open_nursery() as nursery,
    ):
        parties = []
        alice_end.add_addresses(PeerAddress(bob.peer_id, bob_end.addresses))
        for who, store, end in ((alice, alice_store, alice_end), (bob, bob_store, bob_end)):
            service = CreditService(store, who, end, clock, SystemRandomness())
            await nursery.start(service.run)
            parties.append(service)
        requester, worker = parties

        def next_body() -> ReceiptBody:
            terms = _terms(next(numbers), alice.peer_id, bob.peer_id, epoch_of(clock.unix_us()))
            worker.expect(terms)
            return settlement_body([terms])

        async def settle() -> float:
            body = next_body()
            began = time.perf_counter()
            await requester.settle(body)
            return time.perf_counter() - began

        async def commit() -> float:
            began = time.perf_counter()
            for _ in range(3):
                bare.execute("INSERT INTO t VALUES (zeroblob(800))")
            return time.perf_counter() - began

        settled_s, commits_s = await interleave_async(settle, commit, rounds=count)
        bodies = [next_body() for _ in range(10 * count)]
        began = time.perf_counter()
        for body in bodies:
            requester.settle_later(body)
        await requester.drain()
        together_s = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    bare.close()
    return [
        judge("one settlement, stored on both sides", settled_s * 1e3, "ms", floor=commits_s * 1e3),
        judge("settlements in parallel, both sides in one process", 10 * count / together_s, "1/s"),
    ]


def _audit(folder: Path, count: int) -> list[Row]:
    """Everything in a store checked, beside the bare verification of its signatures on one core."""
    path = folder / "audited.db"
    file = ReceiptFile(path)
    receipts = [decode(Receipt, data) for data in _receipts(count)]
    for first in range(0, count, _GROUP):
        file.commit([Entry(r.body, r.requester_half, r.worker_half, 1) for r in receipts[first : first + _GROUP]])
    file.close()
    key = Ed25519PrivateKey.generate()
    public, message = key.public_key(), b"m" * 200
    signature = key.sign(message)

    def audited() -> None:
        if audit(path).problems_total:
            raise RuntimeError("the benchmark's store is not clean")

    def bare() -> None:
        for _ in range(2 * count):
            public.verify(signature, message)

    audit_s, bare_s = interleave(lambda: _seconds(audited), lambda: _seconds(bare), rounds=3)
    exported: list[bytes] = []
    (export_s,) = interleave(lambda: _seconds(lambda: export(path, exported.append, now_us=1)), rounds=1)
    return [
        judge("receipts audited", count / audit_s, "1/s", floor=count / bare_s),
        judge("receipts exported", count / export_s, "1/s"),
        judge("an exported receipt", sum(map(len, exported)) / count, "B"),
    ]


# --- money


def _claims(count: int, peers: int) -> list[Claim]:
    chance = random.Random(2)
    names = [Identity(number.to_bytes(32, "big")).peer_id for number in range(1, peers + 1)]
    made = []
    for number in range(count):
        requester, worker = chance.sample(names, 2)
        epoch = _NOW - chance.randrange(HORIZON_EPOCHS)
        made.append(Claim(number.to_bytes(32, "big"), requester, worker, epoch, chance.randrange(10**7)))
    return made


def _ledger(folder: Path, count: int) -> list[Row]:
    claims = _claims(count, 1_000)
    path = folder / "ledger.db"
    file = ReceiptFile(path)
    columns = "digest, requester, worker, epoch, share_microcredits, complete, stored_us, body"
    with file.transaction():
        file.connection.executemany(
            f"INSERT INTO entries ({columns}) VALUES (?, ?, ?, ?, ?, 1, 0, zeroblob(400))",
            [(c.digest, c.requester, c.worker, c.epoch, c.microcredits) for c in claims],
        )

    def cold() -> float:
        began = time.perf_counter()
        ledger = Ledger(_NOW)
        ledger.add_all(file.claims(_NOW - HORIZON_EPOCHS + 1))
        if len(ledger.standings()) != 1_000:
            raise RuntimeError("the benchmark's ledger lacks peers")
        return time.perf_counter() - began

    ledger = Ledger(_NOW)
    ledger.add_all(claims)
    more = iter(_claims(200_000, 1_000)[count:])

    def incremental() -> float:
        claim = next(more)
        began = time.perf_counter()
        ledger.add(claim)
        ledger.standing(claim.worker)
        return time.perf_counter() - began

    (cold_s,) = interleave(cold, rounds=3)
    (incremental_s,) = interleave(incremental, rounds=1_000)
    file.close()
    return [
        judge(f"standing of 1000 peers from {count} receipts, from disk", cold_s, "s", at_most=1.0),
        judge("one more receipt", incremental_s * 1e6, "us"),
    ]


def _admission() -> Row:
    """The requester worked for all of 1,000 peers, and each of them for me: 999 paths of two edges."""
    names = [Identity(number.to_bytes(32, "big")).peer_id for number in range(1, 1_001)]
    me, requester, *others = names
    ledger = Ledger(_NOW)
    for number, peer in enumerate(others):
        ledger.add(Claim(b"a%031d" % number, peer, requester, _NOW, 1_000))
        ledger.add(Claim(b"b%031d" % number, me, peer, _NOW, 1_000))
    holds, policy, doubts = Holds(), Policy(), Doubts()

    def admit() -> float:
        began = time.perf_counter()
        decide(ledger, holds, policy, doubts, me=me, requester=requester, price_microcredits=1_500)
        return time.perf_counter() - began

    (admit_s,) = interleave(admit, rounds=200)
    return judge("one admission among 1000 peers", admit_s * 1e3, "ms", at_most=1.0)
