"""The node's own view of all credit, in memory and current: ledger, holds, doubts; it decides nothing.

It is filled from the store in small steps after a start, and then by every receipt that is stored, so that no question
about a standing or a flow reads the disk.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import trio

from swarmharness.credit.holds import Holds
from swarmharness.credit.incarnations import Sighting, renewed_peers
from swarmharness.credit.ledger import HORIZON_EPOCHS, Ledger, Outcome, claim_of
from swarmharness.credit.receipt import EPOCH_SKEW_MAX, HalfContent, Receipt, epoch_of
from swarmharness.credit.store import PRUNED_AT_ONCE, ReceiptStore
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.ports import Clock

CLAIMS_AT_ONCE = 1_000
"""About a millisecond's work between two turns of the event loop."""
LOOK_S = 600.0
"""How often the clock is looked at, so that a new hour is noticed though nobody asks."""
_RETRY_S = 5.0

_log = logging.getLogger(__name__)


class Books:
    """Everything that admission decides upon. `ready` is set once all that the store holds is counted."""

    def __init__(self, store: ReceiptStore, me: PeerId, clock: Clock, *, horizon_epochs: int = HORIZON_EPOCHS) -> None:
        self._store, self._me, self._clock = store, me, clock
        self.ledger = Ledger(epoch_of(clock.unix_us()), horizon_epochs=horizon_epochs)
        self.holds = Holds(horizon_epochs)
        self.banned: set[str] = set()
        self.ready = trio.Event()
        self._seen: dict[str, tuple[int, int]] = {}
        """The incarnation of each key, and the latest epoch of a receipt under it."""
        self._several: dict[str, dict[int, int]] = {}
        """The same for each incarnation of the keys that have more than one."""
        self._renewed: frozenset[str] | None = None

    @property
    def epoch(self) -> int:
        """The hour up to which everything has melted; it never goes back (C-8)."""
        return self.ledger.epoch

    @property
    def renewed(self) -> frozenset[str]:
        """Peers with receipts under two incarnations within the horizon (C-18)."""
        if self._renewed is None:
            several = self._several.items()
            sightings = (Sighting(who, number, epoch) for who, seen in several for number, epoch in seen.items())
            self._renewed = renewed_peers(sightings, self.epoch, horizon_epochs=self.ledger.horizon_epochs)
        return self._renewed

    def received(self, receipts: Iterable[Receipt]) -> None:
        """Count receipts that were just stored, and whose halves verify (S-2); repetition changes nothing (C-4)."""
        self.look()
        for receipt in receipts:
            outcome = self.ledger.add(claim_of(receipt.body))
            if outcome is Outcome.COUNTED or outcome is Outcome.NOT_YET_DUE:
                self._sighted(receipt.requester_half.content, receipt.body.epoch)
                self._sighted(receipt.worker_half.content, receipt.body.epoch)

    def look(self) -> bool:
        """Look at the clock; if a new hour has begun, let everything melt, and tell so."""
        now = epoch_of(self._clock.unix_us())
        if now <= self.ledger.epoch:
            return False
        self.ledger.advance(now)
        self.holds.prune(now)
        oldest = now - self.ledger.horizon_epochs
        self._seen = {who: seen for who, seen in self._seen.items() if seen[1] > oldest}
        recent = {who: {n: epoch for n, epoch in seen.items() if epoch > oldest} for who, seen in self._several.items()}
        self._several = {who: seen for who, seen in recent.items() if seen}
        self._renewed = None
        return True

    def ban(self, peer: PeerId) -> None:
        """Serve this proved forker no more, and trust no path through it (C-16)."""
        if peer != self._me:
            self.banned.add(peer)

    async def run(self) -> None:
        """Fill the books from the store, then forget what has expired, each hour, for ever."""
        while not self.ready.is_set():
            try:
                await self._load()
            except SwarmError as error:
                _log.error("the receipts cannot be counted yet: %s", error)
                await trio.sleep(_RETRY_S)
        pruned = -1
        while True:
            self.look()
            if self.epoch != pruned:
                pruned = self.epoch if await self._prune() else pruned
            await trio.sleep(LOOK_S)

    async def _load(self) -> None:
        horizon = self.ledger.horizon_epochs
        oldest = max(0, self.epoch - horizon + 1)
        for proof in await self._store.forks():
            self.ban(proof.signer)
        after = 0
        while True:
            claims, after = await self._store.claims_page(oldest_epoch=oldest, after=after, limit=CLAIMS_AT_ONCE)
            self.ledger.add_all(claims)
            if not claims:
                break
            await trio.lowlevel.checkpoint()
        newest = self.epoch + EPOCH_SKEW_MAX
        for sighting in await self._store.sightings(oldest_epoch=oldest, newest_epoch=newest):
            self._sighted(sighting, sighting.epoch)
        self.holds.add(await self._store.holds(oldest_epoch=oldest))
        self.ready.set()

    async def _prune(self) -> bool:
        """Forget on disk what is older than the horizon, whatever the clocks of others say; tell whether all went."""
        oldest = self.epoch - self.ledger.horizon_epochs - EPOCH_SKEW_MAX
        try:
            while await self._store.prune(self._me, oldest_epoch=max(0, oldest)) == PRUNED_AT_ONCE:
                await trio.lowlevel.checkpoint()
        except SwarmError as error:
            _log.error("old receipts cannot be forgotten now: %s", error)
            return False
        return True

    def _sighted(self, of: HalfContent | Sighting, epoch: int) -> None:
        signer, incarnation = of.signer, of.incarnation
        several = self._several.get(signer)
        if several is None:
            known, latest = self._seen.get(signer, (incarnation, -1))
            if known == incarnation:
                if latest < epoch:
                    self._seen[signer] = incarnation, epoch
                return
            several = self._several[signer] = {known: latest}
        if several.get(incarnation, -1) < epoch:
            several[incarnation] = epoch
            self._renewed = None
