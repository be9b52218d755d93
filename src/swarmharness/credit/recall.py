"""Finds out after a start where this node signs next: asks partners what they remember of its chain (C-17).

It signs nothing. A node that lost its tail, or that was restored from a backup, thus opens a new incarnation before it
could contradict itself. Where something may be lost that nobody who answers remembers, its chain leaps.
"""

from __future__ import annotations

import logging

import trio

from swarmharness.credit.chain import Floor, Place, highest, leap, opening, place_after, place_of
from swarmharness.credit.incarnations import own_halves, place_to_sign
from swarmharness.credit.messages import REMEMBER_METHOD, Remembered
from swarmharness.credit.receipt import Half
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId, Signer
from swarmharness.network.ports import Request, Transport
from swarmharness.ports import Clock
from swarmharness.protocol.codec import decode, encode

PARTNERS_ASKED = 16
QUESTION_S = 5.0
"""So long the partners may take to answer, or to be reachable at all."""
STRAGGLERS_S = 1.0
"""So long the others may take once one has answered."""
_RETRY_S = 0.25

_log = logging.getLogger(__name__)


class Recall:
    """Asks once, when the first signature is wanted or before; later places follow the store alone."""

    def __init__(self, store: ReceiptStore, signer: Signer, transport: Transport, clock: Clock) -> None:
        self._store, self._signer, self._transport, self._clock = store, signer, transport, clock
        self._first: Place | None = None
        self._asked = trio.Event()
        self._asking = trio.Lock()
        transport.handle(REMEMBER_METHOD, self._answer)

    async def run(self) -> None:
        """Ask, so that the answers are there when the first signature is wanted."""
        while not self._asked.is_set():
            try:
                await self.place()
            except SwarmError as error:
                _log.warning("the own chain cannot be continued yet: %s", error)
                await trio.sleep(QUESTION_S)

    async def place(self) -> Place:
        """Return where the next half goes; waits for the partners' answers, but at most `QUESTION_S`."""
        me = self._signer.peer_id
        async with self._asking:
            head = await self._store.head(me)
            if not self._asked.is_set():
                self._first = await self._first_place(head)
                self._asked.set()
        first = self._first
        if first and (head is None or place_of(head) < (first.incarnation, first.number)):
            return first  # nothing is signed there yet
        return opening(0, self._clock.unix_us()) if head is None else place_after(head)

    async def _first_place(self, head: Half | None) -> Place:
        floor = await self._floor(head)
        sealed = await self._store.sealed()
        remembered: list[Half] = []
        doubtful = head is not None and head.content.incarnation <= sealed
        if head is not None:
            answers, answered = await self._ask(head)
            remembered = own_halves(self._signer.peer_id, answers)
            doubtful = doubtful or (self._store.moved and not answered)
        place = place_to_sign(head, remembered, self._clock.unix_us(), doubtful=doubtful, floor=floor)
        if head is not None and place.incarnation != head.content.incarnation:
            _log.warning(
                "this node's receipts are not complete: it begins a new chain, and is a stranger to others for a while"
            )
        if place.incarnation <= sealed:
            last = highest([*remembered, *([head] if head else [])])
            return opening(max(sealed, last.content.incarnation if last else 0), self._clock.unix_us())
        return place

    async def _floor(self, head: Half | None) -> Floor | None:
        """Return the number below which nothing is signed: after a loss of power, a new one, kept before it counts."""
        if not self._store.interrupted:
            return await self._store.floor()
        floor = leap(head, self._clock.unix_us()) if head is not None else Floor(0, 0)
        await self._store.set_floor(floor)
        return floor

    async def _ask(self, head: Half) -> tuple[list[Half], bool]:
        """Return the halves that partners claim to remember, and whether any answered."""
        partners = await self._store.partners(self._signer.peer_id, limit=PARTNERS_ASKED)
        found: list[Half] = []
        answered = False
        if not partners:
            return found, answered
        with trio.move_on_after(QUESTION_S) as patience:

            async def ask(peer_id: PeerId) -> None:
                nonlocal answered
                found.extend(await self._asked_until_answered(peer_id))
                answered = True
                patience.deadline = min(patience.deadline, trio.current_time() + STRAGGLERS_S)

            async with trio.open_nursery() as nursery:
                for peer_id in partners:
                    nursery.start_soon(ask, peer_id)
        return found, answered

    async def _asked_until_answered(self, peer_id: PeerId) -> tuple[Half, ...]:
        while True:
            try:
                answer = await self._transport.call(peer_id, REMEMBER_METHOD, b"", timeout_s=QUESTION_S)
                return decode(Remembered, answer).halves
            except SwarmError:
                await trio.sleep(_RETRY_S)

    async def _answer(self, request: Request) -> bytes:
        return encode(Remembered(tuple(await self._store.heads([request.peer_id]))))
