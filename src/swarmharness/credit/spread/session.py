"""One reconciliation with one peer, from the side that asks; it trusts nothing and every loop in it is bounded.

Openings first: fork proofs, and for whose receipts both sides care. Then what follows the last known places of chains,
which after a short absence is all. Then the intervals in which the sets still differ, down to single receipts: those
that only the peer has are fetched, those that only this node has are pushed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.receipt import Receipt, epoch_of
from swarmharness.credit.spread.bans import Bans
from swarmharness.credit.spread.intake import Intake
from swarmharness.credit.spread.key_index import EPOCH_BYTES, HIGHEST, KeyIndex, epoch_bound
from swarmharness.credit.spread.messages import (
    BATCH_MAX,
    CHAINS_METHOD,
    FETCH_METHOD,
    FRONTIERS_MAX,
    GOSSIP_METHOD,
    INTERVALS_MAX,
    OPEN_METHOD,
    RANGES_METHOD,
    ChainsRequest,
    FetchRequest,
    Frontier,
    Gossip,
    Opening,
    RangeBounds,
    RangesAnswer,
    RangesRequest,
)
from swarmharness.credit.spread.neighbourhood import Neighbourhood, Scope, scope_name, short_id, split_ids
from swarmharness.credit.spread.ranges import Difference, Expansion, Interval, compare
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import ProtocolError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Transport
from swarmharness.ports import Clock
from swarmharness.protocol.codec import decode, encode

_CHAIN_ROUNDS_MAX = 8
_COMPARED_A_TURN = 8
"""Intervals compared between two turns of the event loop, about a millisecond's work."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpreadParts:
    """What every part of spreading works with."""

    store: ReceiptStore
    transport: Transport
    clock: Clock
    near: Neighbourhood
    intake: Intake
    bans: Bans
    settings: SpreadSettings


@dataclass(slots=True)
class Outcome:
    """What one reconciliation did."""

    received: list[Receipt] = field(default_factory=list)
    """What is stored here now that was not before."""
    pushed: int = 0
    shared: bool = False
    """Whether there are peers all of whose receipts both keep: only then there is anything to compare."""
    complete: bool = False
    """The sets were equal at the end, as far as is known: nothing was cut off by a bound."""
    bytes_sent: int = 0
    bytes_received: int = 0


async def ready_index(near: Neighbourhood, scope: Scope) -> KeyIndex:
    """Return the index of these peers' receipts, made in small steps if it was not there."""
    found = near.index(scope)
    if found is None:
        for _ in near.build(scope):
            await trio.lowlevel.checkpoint()
        found = near.index(scope)
        assert found is not None
    return found


def whole(entries: list[Entry]) -> tuple[Receipt, ...]:
    """Return the receipts among entries: half a receipt is not passed on."""
    return tuple(receipt for entry in entries if (receipt := entry.receipt) is not None)


class Session:
    """One reconciliation; use once.

    `on_interests` hears whose receipts the peer keeps before anything is compared: what is signed meanwhile is gossiped
    to it, what was signed before is compared, and nothing falls between.
    """

    def __init__(self, parts: SpreadParts, peer: PeerId, on_interests: Callable[[frozenset[bytes]], object]) -> None:
        self._parts, self._peer, self._on_interests = parts, peer, on_interests
        self._outcome = Outcome()

    async def run(self) -> Outcome:
        """Reconcile; raises the peer's refusal, PeerLostError, DeadlineError, or ProtocolError for nonsense."""
        near = self._parts.near
        near.advance(epoch_of(self._parts.clock.unix_us()))
        mine = near.interests()
        theirs = await self._open()
        known = split_ids(theirs.interests)
        self._on_interests(known)
        scope: Scope = frozenset(peer for peer in mine if short_id(peer) in known)
        self._outcome.shared = bool(scope)
        if not scope:
            self._outcome.complete = True
            return self._outcome
        await self._follow_chains(scope)
        oldest = max(near.oldest_epoch, theirs.oldest_epoch)
        found = await self._compare(scope, Interval(epoch_bound(oldest), HIGHEST))
        await self._fetch(scope_name(scope), found.missing)
        await self._push(found.extra)
        return self._outcome

    async def _open(self) -> Opening:
        bans, near = self._parts.bans, self._parts.near
        own = Opening(near.oldest_epoch, near.interest_ids, bans.forkers(), ())
        theirs = await self._call(OPEN_METHOD, own, Opening)
        for proof in theirs.proofs:
            await bans.take(proof, sender=self._peer)
        lacking = bans.lacking(split_ids(theirs.forkers))
        if lacking:
            await self._call(OPEN_METHOD, Opening(own.oldest_epoch, own.interests, bans.forkers(), lacking), Opening)
        return theirs

    async def _follow_chains(self, scope: Scope) -> None:
        near = self._parts.near
        signers = [self._peer, near.me, *sorted(near.followed - {self._peer})]
        chosen = list(islice((signer for signer in signers if signer in scope), FRONTIERS_MAX))
        for _ in range(_CHAIN_ROUNDS_MAX):
            heads = [half.content for half in await self._parts.store.heads(chosen)]
            if not heads:
                return
            places = tuple(Frontier(head.signer, head.incarnation, head.number + 1) for head in heads)
            answer = await self._call(CHAINS_METHOD, ChainsRequest(places), Gossip)
            stored = await self._take(answer.receipts)
            if not stored or len(answer.receipts) < BATCH_MAX:
                return

    async def _compare(self, scope: Scope, everything: Interval) -> Difference:
        found = Difference(intervals=[everything])
        settings, name = self._parts.settings, scope_name(scope)
        for _ in range(settings.session_requests_max):
            asked, found.intervals = found.intervals[:INTERVALS_MAX], found.intervals[INTERVALS_MAX:]
            if not asked or len(found.missing) >= settings.session_receipts_max:
                break
            request = RangesRequest(name, tuple(RangeBounds(one.lower, one.upper) for one in asked))
            answer = await self._call(RANGES_METHOD, request, RangesAnswer)
            if len(answer.contents) != len(asked):
                raise ProtocolError(f"{self._peer} was asked about {len(asked)} intervals and did not answer for each")
            index = await ready_index(self._parts.near, scope)  # with what has come meanwhile
            for number, (interval, told) in enumerate(zip(asked, answer.contents, strict=True)):
                try:
                    part = compare(index, interval, Expansion(told.bounds, told.fingerprints, told.ids))
                except ValueError as error:
                    raise ProtocolError(f"{self._peer}: {error}") from None
                found.intervals += part.intervals
                found.missing += part.missing
                found.extra += part.extra
                if number % _COMPARED_A_TURN == _COMPARED_A_TURN - 1:
                    await trio.lowlevel.checkpoint()
        cut = len(found.missing) > settings.session_receipts_max or len(found.extra) > settings.pushed_receipts_max
        self._outcome.complete = not found.intervals and not cut
        return found

    async def _fetch(self, scope: bytes, ids: list[bytes]) -> None:
        for batch in _batches(ids[: self._parts.settings.session_receipts_max]):
            answer = await self._call(FETCH_METHOD, FetchRequest(scope, b"".join(batch)), Gossip)
            await self._take(answer.receipts)

    async def _push(self, keys: list[bytes]) -> None:
        for batch in _batches(keys[: self._parts.settings.pushed_receipts_max]):
            receipts = whole(await self._parts.store.entries([key[EPOCH_BYTES:] for key in batch]))
            request = encode(Gossip(receipts))
            self._outcome.bytes_sent += len(request)
            await self._parts.transport.call(
                self._peer, GOSSIP_METHOD, request, timeout_s=self._parts.settings.call_timeout_s
            )
            self._outcome.pushed += len(receipts)

    async def _take(self, receipts: tuple[Receipt, ...]) -> int:
        stored = await self._parts.intake.take(receipts, sender=self._peer, asked=True)
        self._outcome.received += stored
        return len(stored)

    async def _call(self, method: str, request: object, answer: type[T]) -> T:
        payload = encode(request)
        self._outcome.bytes_sent += len(payload)
        reply = await self._parts.transport.call(
            self._peer, method, payload, timeout_s=self._parts.settings.call_timeout_s
        )
        self._outcome.bytes_received += len(reply)
        return decode(answer, reply)


def _batches(things: list[bytes]) -> Iterator[list[bytes]]:
    for start in range(0, len(things), BATCH_MAX):
        yield things[start : start + BATCH_MAX]
