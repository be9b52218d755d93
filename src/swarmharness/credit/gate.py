"""Admission at work: takes what the pure rules say, and has it on disk before a request is served (C-11, C-12).

What is taken is reserved on disk in blocks, so that not every request waits for the disk. After a crash the unused rest
of a block counts as taken: a crash never returns a hold.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count

import trio

from swarmharness.credit.admission import Admitted, Doubts, Policy, Rank, Refused, decide, residual_flow
from swarmharness.credit.books import Books
from swarmharness.credit.holds import STRANGERS, Hold, Key
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import RefusedError
from swarmharness.identity import PeerId

BLOCK_MICROCREDITS = 10_000_000
"""So much is reserved beyond what is taken: ten seconds of a reference core."""
BANNED = "a request of a banned peer"
NOT_COVERED = "a request without enough credit"


@dataclass(frozen=True, slots=True)
class Ticket:
    """An admitted request: where it stands in the queue (smaller first), and what it took."""

    priority: tuple[int, ...]
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Credit:
    """What one peer could have done here now, in micro-credits."""

    flow: int
    line: int
    line_left: int
    strangers_left: int


class Gate:
    """Decides for one node who is served, and records what that takes."""

    def __init__(
        self,
        books: Books,
        store: ReceiptStore,
        me: PeerId,
        policy: Policy,
        *,
        withholds: Callable[[PeerId], bool],
        refused: Counter[str],
    ) -> None:
        self._books, self._store, self._me = books, store, me
        self._withholds, self._refused = withholds, refused
        self._configured = self._policy = policy
        self._granted: Counter[PeerId] = Counter()
        self._reserved: defaultdict[tuple[Key, int], int] = defaultdict(int)
        self._loaded = False
        self._recording = trio.Lock()
        self._arrivals = count()
        self.be_shown: Callable[[PeerId], Awaitable[None]] = _nothing_shown
        """Has a requester show what it did for those who worked for this node; bounded, and never raises (C-21)."""
        self.be_shown_later: Callable[[PeerId], None] = lambda requester: None
        """Does the same without waiting."""

    @property
    def policy(self) -> Policy:
        """What is in force: as configured, with the lines of invites."""
        return self._policy

    def set_policy(self, policy: Policy) -> None:
        """Put another policy into force; its horizon counts from the next start."""
        self._configured = policy
        self._policy = replace(policy, lines={**self._granted, **policy.lines})

    def grant(self, peer: PeerId, microcredits: int) -> None:
        """Add to the line that a peer has by invites; a line that the operator configured counts in its place."""
        self._granted[peer] += microcredits
        self.set_policy(self._configured)

    def credit_of(self, peer: PeerId) -> Credit:
        """Return what covers requests of a peer now, for people."""
        books = self._books
        books.look()
        flow = residual_flow(books.ledger, books.holds, peer, self._me, frozenset(books.banned) | books.renewed)
        line = self._policy.lines.get(peer, 0)
        strangers = self._policy.stranger_budget_microcredits - books.holds.taken_in(STRANGERS, books.epoch)
        left = max(0, line - books.holds.held((peer, ""), books.epoch))
        return Credit(flow.total, line, left, max(0, strangers))

    async def admit(self, requester: PeerId, price_microcredits: int) -> Ticket:
        """Take what a request of this price costs, on disk when this returns.

        Raises RefusedError, which says what is missing and what would change it, and has taken nothing.
        """
        if requester == self._me:
            return Ticket((int(Rank.OWN), 0, next(self._arrivals)))
        await self._ready()
        decision = self._decide(requester, price_microcredits)
        if isinstance(decision, Refused) and not decision.banned:
            await self.be_shown(requester)
            decision = self._decide(requester, price_microcredits)
        elif isinstance(decision, Admitted) and decision.rank is Rank.STRANGER:
            self.be_shown_later(requester)  # it may count with the next request
        if isinstance(decision, Refused):
            self._refused[BANNED if decision.banned else NOT_COVERED] += 1
            raise RefusedError(decision.reason)
        self._books.holds.add(decision.holds)  # before anything is awaited, so that nothing is promised twice
        ticket = Ticket(decision.order(next(self._arrivals)), decision.holds)
        try:
            await self._record(decision.holds)
        except BaseException:
            self.undo(ticket)
            raise
        return ticket

    def undo(self, ticket: Ticket) -> None:
        """Give back what a request took that was refused after all, before any work was done for it."""
        self._books.holds.add(replace(hold, microcredits=-hold.microcredits) for hold in ticket.holds)

    async def close(self) -> None:
        """Give back, on disk, what was reserved and not taken; a node that crashes does not get here."""
        async with self._recording:
            if spare := self._spare(before=self._books.epoch + 1):
                await self._store.keep_holds(spare)

    def _decide(self, requester: PeerId, price_microcredits: int) -> Admitted | Refused:
        books = self._books
        books.look()
        withholding = frozenset({requester}) if self._withholds(requester) else frozenset[str]()
        return decide(
            books.ledger,
            books.holds,
            self._policy,
            Doubts(books.banned, books.renewed, withholding),
            me=self._me,
            requester=requester,
            price_microcredits=price_microcredits,
        )

    async def _ready(self) -> None:
        if self._loaded:
            return
        await self._books.ready.wait()
        if not self._loaded:
            self._loaded = True
            for hold in self._books.holds:
                self._reserved[hold.key, hold.epoch] = hold.microcredits

    async def _record(self, holds: tuple[Hold, ...]) -> None:
        if not self._lacking(holds):
            return
        async with self._recording:
            lacking = self._lacking(holds)  # who waited before may have reserved for all
            if lacking:
                await self._store.keep_holds([*lacking, *self._spare(before=self._books.epoch)])
                for hold in lacking:
                    self._reserved[hold.key, hold.epoch] += hold.microcredits

    def _spare(self, *, before: int) -> list[Hold]:
        """Return, as negative holds, what was reserved before this hour and not taken; it is reserved no more."""
        past = [known for known in self._reserved if known[1] < before]
        reserved = {known: self._reserved.pop(known) for known in past}
        taken = {known: self._books.holds.taken_in(*known) for known in past}
        return [
            Hold(key, epoch, taken[key, epoch] - amount)
            for (key, epoch), amount in reserved.items()
            if amount != taken[key, epoch]
        ]

    def _lacking(self, holds: tuple[Hold, ...]) -> list[Hold]:
        """Return what is to be reserved so that all that was taken of these keys is on disk."""
        keys = {(hold.key, hold.epoch) for hold in holds}
        taken = {known: self._books.holds.taken_in(*known) for known in keys}
        return [
            Hold(key, epoch, taken[key, epoch] + BLOCK_MICROCREDITS - self._reserved[key, epoch])
            for key, epoch in keys
            if taken[key, epoch] > self._reserved[key, epoch]
        ]


async def _nothing_shown(requester: PeerId) -> None:
    return None
