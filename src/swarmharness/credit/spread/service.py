"""Spreads receipts and fork proofs: gossip to followers, comparison, showing on demand; it settles nothing.

The rules are C-19 to C-24 of docs/credit-rules.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import trio

from swarmharness.credit.forks import ForkProof
from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.receipt import Receipt, body_digest, epoch_of
from swarmharness.credit.spread.answering import Answerer
from swarmharness.credit.spread.bans import Bans
from swarmharness.credit.spread.gaps import PATIENCE_US, Gap, Gaps, places_to_check
from swarmharness.credit.spread.gossip import GATHERED_MOST, Gossiper
from swarmharness.credit.spread.intake import Intake, SpreadProblem
from swarmharness.credit.spread.messages import CHAINS_METHOD, ChainsRequest, Frontier, Gossip
from swarmharness.credit.spread.neighbourhood import Neighbourhood
from swarmharness.credit.spread.schedule import Schedule
from swarmharness.credit.spread.session import Outcome, Session, SpreadParts
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.spread.shows import Shows
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import DeadlineError, ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.ports import Broadcast, PeerEvent, Transport
from swarmharness.ports import Clock, Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Refusals, Tally

_LOADED_AT_ONCE = 256
"""About a millisecond's work between two turns of the event loop."""

_RETRY_S = 5.0

_log = logging.getLogger(__name__)


class SpreadService:
    """The spreading half of SwarmCredit. `refused` counts what was not believed, by reason."""

    def __init__(
        self,
        store: ReceiptStore,
        transport: Transport,
        broadcast: Broadcast,
        clock: Clock,
        randomness: Randomness,
        *,
        settings: SpreadSettings | None = None,
        horizon_epochs: int = HORIZON_EPOCHS,
        refusals: Refusals | None = None,
    ) -> None:
        self.refused = Tally(refusals)
        self.settings = settings or SpreadSettings()
        self.sessions = 0
        """Reconciliations that this node began and finished."""
        self._transport, self._clock, self._randomness = transport, clock, randomness
        me = transport.peer_id
        near = Neighbourhood(
            me, epoch_of(clock.unix_us()), horizon_epochs=horizon_epochs, followed_max=self.settings.followed_max
        )
        self.bans = Bans(store, broadcast, me, clock, refused=self.refused)
        intake = Intake(store, near, clock, self.settings, refused=self.refused, on_proof=self.bans.found)
        self._parts = SpreadParts(store, transport, clock, near, intake, self.bans, self.settings)
        self._gossip = Gossiper(transport, randomness, self.settings)
        self._schedule = Schedule(
            me,
            period_us=int(self.settings.period_s * 1e6),
            stagger_us=int(self.settings.stagger_s * 1e6),
            most_us=int(self.settings.period_most_s * 1e6),
        )
        self._shows = Shows(self._parts)
        self._busy: set[PeerId] = set()
        self._nursery: trio.Nursery | None = None
        self._gaps = Gaps(round(GATHERED_MOST * self.settings.gossip_batch_s * 1e6) + PATIENCE_US)
        self._pause = trio.CancelScope()
        """Ends when the next thing is due."""
        self._next_dials_us = 0
        self._answerer = Answerer(
            self._parts, refused=self.refused, on_gossip=self._gossip_came, on_opening=self._opening_came
        )
        transport.watch(self._on_peer)

    # --- what others use

    @property
    def near(self) -> Neighbourhood:
        """Whose receipts are kept here; for reading only."""
        return self._parts.near

    def is_banned(self, peer: str) -> bool:
        """Tell whether a peer is a proved forker (C-16)."""
        return self.bans.is_banned(peer)

    def watch_bans(self, listener: Callable[[PeerId], None]) -> None:
        """Call `listener`, which must not block, with every peer that is banned from now on, also when loading."""
        self.bans.listeners.append(listener)

    def watch_receipts(self, listener: Callable[[Sequence[Receipt]], None]) -> None:
        """Call `listener`, which must not block, with receipts of peers that were just stored: a ledger adds them."""
        self._parts.intake.listeners.append(listener)

    def add_own(self, receipt: Receipt) -> None:
        """Spread a receipt that this node just became a party of and has stored; never waits."""
        body = receipt.body
        near = self._parts.near
        near.advance(epoch_of(self._clock.unix_us()))
        other = PeerId(body.requester if body.worker == near.me else body.worker)
        before = near.followed
        if near.add(body.epoch, body_digest(body), body.requester, body.worker):
            self._gossip.publish(receipt)
            if other in near.followed and other not in before:  # from now on all of its receipts are wanted
                self._meet(other)

    def add_imported(self, receipts: Sequence[Receipt]) -> None:
        """Take receipts of a file into account, which are stored; peers get them by reconciliation."""
        near = self._parts.near
        near.advance(epoch_of(self._clock.unix_us()))
        for receipt in receipts:
            body = receipt.body
            near.add(body.epoch, body_digest(body), body.requester, body.worker)

    async def be_shown(self, requester: PeerId) -> None:
        """Have a requester show what it did for those who worked for this node, if it was not asked lately.

        Waits for the answer, at most `show_timeout_s`, and never raises for what the peer does.
        """
        await self._shows.ask(requester)

    def be_shown_later(self, requester: PeerId) -> None:
        """Do as `be_shown`, without waiting."""
        if self._nursery is not None and self._shows.due(requester):
            self._nursery.start_soon(self._shows.ask, requester)

    def found_fork(self, proof: ForkProof) -> None:
        """Ban and flood a proof that this node's own store found among verified halves; never waits."""
        self.bans.found(proof)

    async def reconcile(self, peer: PeerId) -> Outcome:
        """Reconcile with a peer now; raises its refusal, PeerLostError, DeadlineError or ProtocolError."""
        with trio.move_on_after(self.settings.session_timeout_s):
            outcome = await Session(self._parts, peer, partial(self._gossip.heard, peer)).run()
            self.sessions += 1
            if outcome.received:
                await self._look_for_gaps(peer, outcome.received)
            return outcome
        raise DeadlineError(f"the reconciliation with {peer} took longer than {self.settings.session_timeout_s:g} s")

    # --- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Load what is stored, then spread, until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._gossip.run)
            nursery.start_soon(self.bans.run)
            task_status.started()
            while True:
                try:
                    await self._load()
                    break
                except SwarmError as error:
                    _log.error("the receipts cannot be spread yet: %s", error)
                    await trio.sleep(_RETRY_S)
            self._answerer.ready = True
            self._nursery = nursery
            for peer in self._transport.connected():
                self._on_peer(PeerEvent(peer, connected=True))
            while True:
                self._start_due(nursery)
                with trio.CancelScope() as self._pause:
                    self._plan()
                    await trio.sleep_forever()

    async def _load(self) -> None:
        await self.bans.load()
        near, after = self._parts.near, 0
        while True:
            claims, after = await self._parts.store.claims_page(
                oldest_epoch=near.oldest_epoch, after=after, limit=_LOADED_AT_ONCE
            )
            for claim in claims:
                near.add(claim.epoch, claim.digest, claim.requester, claim.worker)
            if not claims:
                return
            await trio.lowlevel.checkpoint()

    def _start_due(self, nursery: trio.Nursery) -> None:
        now_us = self._clock.monotonic_us()
        self._dial_some(nursery, now_us)
        room = self.settings.sessions_at_once - len(self._busy)
        for peer in self._schedule.take_due(now_us, self._busy, room):
            self._busy.add(peer)
            nursery.start_soon(self._reconcile_quietly, peer)
        for gap in self._gaps.take_due(now_us):
            nursery.start_soon(self._fill, gap)

    def _plan(self) -> None:
        """End the pause when the next thing is due; what is due may have changed."""
        due = [self._next_dials_us]
        gap_us, next_us = self._gaps.next_due_us(), self._schedule.next_due_us(self._busy)
        if gap_us is not None:
            due.append(gap_us)
        if next_us is not None and len(self._busy) < self.settings.sessions_at_once:
            due.append(next_us)
        wait_s = max(0.0, (min(due) - self._clock.monotonic_us()) / 1e6)
        self._pause.deadline = trio.current_time() + wait_s

    def _dial_some(self, nursery: trio.Nursery, now_us: int) -> None:
        """Now and then, meet a few followed partners that are not connected: the connection brings a comparison."""
        if now_us < self._next_dials_us:
            return
        period_us = int(self.settings.dial_period_s * 1e6)
        self._next_dials_us = now_us + period_us // 2 + self._randomness.below(period_us)
        connected = set(self._transport.connected())
        absent = [PeerId(peer) for peer in sorted(self._parts.near.followed) if peer not in connected]
        for _ in range(min(self.settings.dials_per_period, len(absent))):
            nursery.start_soon(self._dial, absent.pop(self._randomness.below(len(absent))))

    async def _dial(self, peer: PeerId) -> None:
        try:
            await self._transport.connect(peer, timeout_s=self.settings.call_timeout_s)
        except SwarmError as error:
            _log.debug("the partner %s is not there: %s", peer, error)

    async def _reconcile_quietly(self, peer: PeerId) -> None:
        again = shared = False
        try:
            near = self._parts.near
            before = near.interests()
            outcome = await self.reconcile(peer)
            shared = outcome.shared
            again = not outcome.complete or (bool(outcome.received) and near.interests() != before)
        except ProtocolError as error:
            self.refused.note(SpreadProblem.BROKEN_ANSWER, peer)
            _log.info("the reconciliation with %s was broken off: %s", peer, error, extra=by_peers())
        except SwarmError as error:
            _log.debug("the reconciliation with %s was broken off: %s", peer, error)
        finally:
            self._busy.discard(peer)
            if peer in self._transport.connected() and (again or shared):
                period_us = int(self.settings.period_s * 1e6)
                now_us = self._clock.monotonic_us()
                self._schedule.done(peer, now_us, self._randomness.below(period_us), again=again)
            self._plan()

    # --- gaps: what precedes is asked for, never punished (C-17)

    async def _look_for_gaps(self, peer: PeerId, receipts: Sequence[Receipt]) -> None:
        places = places_to_check(receipts, self._parts.near.interests())
        if not places:
            return
        now_us = self._clock.monotonic_us()
        for place, below in zip(places, await self._parts.store.known_below(places), strict=True):
            if below < place[2] - 1:
                self._gaps.note(peer, place, now_us)
                self._plan()

    async def _fill(self, gap: Gap) -> None:
        signer, incarnation, number = gap.place
        try:
            (below,) = await self._parts.store.known_below([gap.place])
            if below < number - 1:
                request = encode(ChainsRequest((Frontier(signer, incarnation, below + 1),)))
                reply = await self._transport.call(
                    gap.peer, CHAINS_METHOD, request, timeout_s=self.settings.call_timeout_s
                )
                await self._parts.intake.take(decode(Gossip, reply).receipts, sender=gap.peer, asked=True)
        except SwarmError as error:
            _log.debug("%s does not have what is missing of %s: %s", gap.peer, signer, error)

    # --- events

    async def _gossip_came(self, peer: PeerId, receipts: Sequence[Receipt]) -> None:
        await self._look_for_gaps(peer, receipts)

    def _opening_came(self, peer: PeerId, interests: frozenset[bytes]) -> None:
        self._gossip.heard(peer, interests)
        self._schedule.heard(peer, self._clock.monotonic_us())

    def _on_peer(self, event: PeerEvent) -> None:
        if not event.connected:
            self._schedule.disconnected(event.peer_id)
            self._gossip.forget(event.peer_id)
        elif self._answerer.ready and self._is_worth_meeting(event.peer_id):
            self._meet(event.peer_id)

    def _is_worth_meeting(self, peer: PeerId) -> bool:
        """Tell whether to compare with a peer that connected: one that this node follows, or one of a few others."""
        if peer in self._parts.near.followed:
            return True
        channels = len(self._transport.connected())
        return self._randomness.below(max(1, channels)) < self.settings.strangers_met

    def _meet(self, peer: PeerId) -> None:
        chance = self._randomness.below(max(1, int(self.settings.stagger_s * 1e6)))
        self._schedule.met(peer, self._clock.monotonic_us(), chance)
        self._plan()
