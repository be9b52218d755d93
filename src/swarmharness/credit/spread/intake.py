"""Checks receipts that peers send, cheapest first, and stores the good ones; it never sends anything.

Nothing of a receipt is believed, stored or passed on before both signatures verify (S-2). Whoever sends too much is
refused before its signatures are checked, and a signer is charged only for what it really signed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.receipt import Problem, Receipt, body_digest, body_problem, epoch_of, half_problem
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import RefusedError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.network.turns import Turns
from swarmharness.ports import Clock
from swarmharness.refusals import Tally

_CHECKED_A_TURN = 8
"""Receipts whose signatures are checked between two turns of the event loop, a millisecond or two."""
_EVERYBODY = ""


class SpreadProblem(StrEnum):
    """Why something that a peer sent was not taken; the names are also the names of counters."""

    MALFORMED = "malformed"
    NOT_NEAR = "neither party is this node or one of its partners"
    NOT_DUE = "the receipt is older than the horizon or of a future epoch"
    SENDER_TOO_FAST = "the peer sends more receipts than it may"
    SIGNER_TOO_FAST = "a party signs more receipts than it may"
    SIGNER_FULL = "a party has as many receipts here as it may have"
    BUSY = "too many receipts wait to be checked"
    NOT_STORED = "the receipt could not be stored"
    TOO_MANY_REQUESTS = "the peer asks more often than it may"
    STRANGERS_BUSY = "too many requests of nodes without receipts here wait"
    UNKNOWN_SCOPE = "the peer asks about a set of peers that was not agreed"
    BROKEN_ANSWER = "the answer of a reconciliation makes no sense"
    INVALID_PROOF = "a fork proof does not hold"


_OF_OTHERS = frozenset({SpreadProblem.SIGNER_TOO_FAST, SpreadProblem.SIGNER_FULL})
"""Problems for which nobody can blame the sender."""


@dataclass(slots=True)
class _Group:
    """Receipts that go to disk together."""

    receipts: dict[bytes, Receipt] = field(default_factory=dict)
    done: bool = False
    error: UnavailableError | None = None


class Intake:
    """The one way for receipts of peers into the store."""

    def __init__(
        self,
        store: ReceiptStore,
        near: Neighbourhood,
        clock: Clock,
        settings: SpreadSettings,
        *,
        refused: Tally,
        on_proof: Callable[[ForkProof], None],
    ) -> None:
        self._store, self._near, self._clock, self._settings = store, near, clock, settings
        self._refused, self._on_proof = refused, on_proof
        self._senders = TokenBuckets(per_s=settings.sender_per_s, burst=settings.sender_burst)
        self._everybody = TokenBuckets(per_s=settings.all_senders_per_s, burst=settings.all_senders_burst)
        self._signers = TokenBuckets(per_s=settings.signer_per_s, burst=settings.signer_burst)
        self._asked = TokenBuckets(per_s=settings.asked_signer_per_s, burst=settings.asked_signer_burst)
        self._checking: set[bytes] = set()
        self._turn, self._committing = Turns(), Turns()
        self._next_group = _Group()
        self.listeners: list[Callable[[Sequence[Receipt]], None]] = []
        """Called with receipts that were just stored."""

    async def take(self, receipts: Sequence[Receipt], *, sender: PeerId, asked: bool) -> list[Receipt]:
        """Check and store what is new and wanted, and return that; `asked` tells that this node asked for them.

        Raises RefusedError when too much waits already, UnavailableError when the store cannot take any.
        """
        if not asked and self._is_busy():
            self._refused[SpreadProblem.BUSY] += len(receipts)
            raise RefusedError(f"{SpreadProblem.BUSY}; they are found again by reconciliation")
        chosen: dict[bytes, Receipt] = {}
        try:
            async with self._turn:
                self._near.advance(epoch_of(self._clock.unix_us()))
                chosen = self._choose(receipts, sender, asked)
                self._checking |= chosen.keys()
                good = await self._verified(chosen, sender, asked)
            await self._keep(good)  # meanwhile the next batch is verified
        finally:
            self._checking -= chosen.keys()
        return list(good.values())

    def _is_busy(self) -> bool:
        settings, waiting = self._settings, len(self._next_group.receipts)
        disk_is_slow = self._committing.full and waiting >= settings.receipts_waiting_max
        return disk_is_slow or self._turn.waiting >= settings.batches_waiting_max

    def _choose(self, receipts: Sequence[Receipt], sender: PeerId, asked: bool) -> dict[bytes, Receipt]:
        """Return those that are worth checking, by digest."""
        chosen: dict[bytes, Receipt] = {}
        problems: set[SpreadProblem | Problem] = set()
        now_us = self._clock.monotonic_us()
        for receipt in receipts:
            body = receipt.body
            digest = body_digest(body)
            if digest in chosen or digest in self._checking or self._near.knows(body.epoch, digest):
                continue
            problem = self._cheap_problem(receipt)
            if problem is None and not asked:
                if not self._senders.take(sender, 1, now_us) or not self._everybody.take(_EVERYBODY, 1, now_us):
                    problem = SpreadProblem.SENDER_TOO_FAST
                elif not (self._signers.has(body.requester, 1, now_us) and self._signers.has(body.worker, 1, now_us)):
                    problem = SpreadProblem.SIGNER_TOO_FAST
            if problem is None:
                chosen[digest] = receipt
            else:
                self._refused[problem] += 1
                problems.add(problem)
        for problem in sorted(problems - _OF_OTHERS):  # once a batch: who means well may send many that nobody wants
            self._refused.blame(problem, sender, mild=True)
        return chosen

    def _cheap_problem(self, receipt: Receipt) -> SpreadProblem | Problem | None:
        body = receipt.body
        if not self._near.is_due(body.epoch):
            return SpreadProblem.NOT_DUE
        if not self._near.wants(body.requester, body.worker):
            return SpreadProblem.NOT_NEAR
        if self._near.is_full(body.requester, body.worker):
            return SpreadProblem.SIGNER_FULL
        return body_problem(body)

    async def _verified(self, chosen: dict[bytes, Receipt], sender: PeerId, asked: bool) -> dict[bytes, Receipt]:
        """Return those whose signatures verify, and charge their signers; whoever sent others is to blame.

        Not in a thread: it would be fast alone, but beside the thread that stores and the event loop, all three wait
        for each other at every signature (measured: 0.54 of bare verification instead of 0.66).
        """
        buckets, now_us = self._asked if asked else self._signers, self._clock.monotonic_us()
        good: dict[bytes, Receipt] = {}
        for number, (digest, receipt) in enumerate(chosen.items(), start=1):
            body = receipt.body
            problem: SpreadProblem | Problem | None = half_problem(
                receipt.requester_half, digest, body.requester
            ) or half_problem(receipt.worker_half, digest, body.worker)
            if problem is not None:
                self._refused.blame(problem, sender)
            elif not (buckets.take(body.requester, 1, now_us) and buckets.take(body.worker, 1, now_us)):
                problem = SpreadProblem.SIGNER_TOO_FAST
            if problem is None:
                good[digest] = receipt
            else:
                self._refused[problem] += 1
            if number % _CHECKED_A_TURN == 0:
                await trio.lowlevel.checkpoint()
                now_us = self._clock.monotonic_us()
        return good

    async def _keep(self, good: dict[bytes, Receipt]) -> None:
        """Store receipts; those that wait for one commit share the next, also those whose caller gave up meanwhile."""
        if not good:
            return
        group = self._next_group
        group.receipts.update(good)
        async with self._committing:
            if not group.done:
                if self._next_group is group:
                    self._next_group = _Group()
                await self._commit(group)
        if group.error is not None:
            raise UnavailableError(str(group.error)) from group.error

    async def _commit(self, group: _Group) -> None:
        stored_us = self._clock.unix_us()
        entries = [Entry(one.body, one.requester_half, one.worker_half, stored_us) for one in group.receipts.values()]
        try:
            proofs = await self._store.commit(entries)
        except UnavailableError as error:
            self._refused[SpreadProblem.NOT_STORED] += len(entries)
            group.done, group.error = True, error
            return
        group.done = True
        for digest, one in group.receipts.items():
            self._near.add(one.body.epoch, digest, one.body.requester, one.body.worker)
        for proof in proofs:
            self._on_proof(proof)
        for listener in self.listeners:
            listener(list(group.receipts.values()))
