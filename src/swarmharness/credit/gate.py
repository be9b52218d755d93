"""Admission at work: takes what the pure rules say, and has it on disk before a request is served (C-11, C-12).

What is taken is reserved on disk in blocks, so that not every request waits for the disk. After a crash the unused rest
of a block counts as taken: a crash never returns a hold. What is on the disk is remembered only once it is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from itertools import count

import trio

from swarmharness.credit.admission import Admitted, Doubts, Policy, Rank, Refused, decide, residual_flow
from swarmharness.credit.books import Books
from swarmharness.credit.holds import STRANGERS, Hold, Key
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import RefusedError
from swarmharness.identity import PeerId
from swarmharness.refusals import Tally

BLOCK_MICROCREDITS = 10_000_000
"""So much is reserved beyond what is taken: ten seconds of a reference core."""
BANNED = "a request of a banned peer"
NOT_COVERED = "a request without enough credit"
STOPPING = "this node is stopping"


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
        refused: Tally,
    ) -> None:
        self._books, self._store, self._me = books, store, me
        self._withholds, self._refused = withholds, refused
        self._configured = self._policy = policy
        self._granted: Counter[PeerId] = Counter()
        self._spare: dict[tuple[Key, int], int] = {}
        """What the disk holds beyond what is taken, by key and epoch (absent: nothing); below 0 before a write."""
        self._closing = self._closed = False
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
        await self._books.ready.wait()
        decision = self._decide(requester, price_microcredits)
        if isinstance(decision, Refused) and not decision.banned:
            await self.be_shown(requester)
            decision = self._decide(requester, price_microcredits)
        elif isinstance(decision, Admitted) and decision.rank is Rank.STRANGER:
            self.be_shown_later(requester)  # it may count with the next request
        if isinstance(decision, Refused):
            self._refused.note(BANNED if decision.banned else NOT_COVERED, requester, mild=True)
            raise RefusedError(decision.reason)
        if self._closing:
            raise RefusedError(STOPPING)
        self._take(decision.holds)  # before anything is awaited, so that nothing is promised twice
        try:
            await self._record(decision.holds)
        except BaseException:
            self._give_back(decision.holds)  # nothing of it is on the disk
            raise
        return Ticket(decision.order(next(self._arrivals)), decision.holds)

    def undo(self, ticket: Ticket) -> None:
        """Give back what a request took that was refused after all, before any work was done for it.

        After `close` nothing is given back: the disk has the last word, and memory follows it.
        """
        if not self._closed:
            self._give_back(ticket.holds)

    async def close(self) -> None:
        """Admit nobody any more, and give back, on disk, what was reserved and not taken.

        A node that crashes does not get here, and one whose disk is too slow not to the end: then the rest stays taken.
        """
        self._closing = True
        try:
            async with self._recording:
                while spare := self._returned(before=self._books.epoch + 1):
                    await self._keep(spare)
        finally:
            self._closed = True

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

    @property
    def _oldest(self) -> int:
        """The last epoch of which nothing holds any more."""
        return self._books.epoch - self._books.holds.horizon_epochs

    def _take(self, holds: Iterable[Hold]) -> None:
        taken = tuple(holds)
        self._books.holds.add(taken)
        for hold in taken:
            self._add_spare(hold, -hold.microcredits)

    def _give_back(self, holds: Iterable[Hold]) -> None:
        known = (hold for hold in holds if hold.epoch > self._oldest)
        self._take(replace(hold, microcredits=-hold.microcredits) for hold in known)

    def _add_spare(self, hold: Hold, microcredits: int) -> None:
        place = hold.key, hold.epoch
        spare = self._spare.pop(place, 0) + microcredits
        if spare:
            self._spare[place] = spare

    async def _record(self, holds: tuple[Hold, ...]) -> None:
        if not self._lacking(holds):
            return
        async with self._recording:
            lacking = self._lacking(holds)  # who waited before may have reserved for all
            if lacking and self._closing:
                raise RefusedError(STOPPING)
            if lacking:
                await self._keep([*lacking, *self._returned(before=self._books.epoch)])

    async def _keep(self, holds: list[Hold]) -> None:
        """Add to what the disk holds; while that lasts, requests go on taking and giving back."""
        await self._store.keep_holds(holds)
        for hold in holds:
            self._add_spare(hold, hold.microcredits)

    def _returned(self, *, before: int) -> list[Hold]:
        """Return, as negative holds, what was reserved before this hour and not taken."""
        self._spare = {place: spare for place, spare in self._spare.items() if place[1] > self._oldest}
        return [Hold(*place, -spare) for place, spare in self._spare.items() if spare > 0 and place[1] < before]

    def _lacking(self, holds: tuple[Hold, ...]) -> list[Hold]:
        """Return what is to be reserved so that all that was taken of these keys is on disk."""
        places = dict.fromkeys((hold.key, hold.epoch) for hold in holds)
        spare = {place: self._spare.get(place, 0) for place in places}
        return [Hold(*place, BLOCK_MICROCREDITS - amount) for place, amount in spare.items() if amount < 0]


async def _nothing_shown(requester: PeerId) -> None:
    return None
