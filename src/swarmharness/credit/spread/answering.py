"""Answers what peers ask and send about receipts; it asks nobody, and one peer's requests cost it a bounded amount."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.receipt import Receipt, epoch_of
from swarmharness.credit.spread.intake import SpreadProblem
from swarmharness.credit.spread.key_index import KeyIndex
from swarmharness.credit.spread.messages import (
    BATCH_MAX,
    CHAINS_METHOD,
    FETCH_METHOD,
    GOSSIP_METHOD,
    OPEN_METHOD,
    RANGES_METHOD,
    SHOW_METHOD,
    ChainsRequest,
    FetchRequest,
    Gossip,
    GossipAnswer,
    Opening,
    RangeContents,
    RangesAnswer,
    RangesRequest,
    ShowRequest,
)
from swarmharness.credit.spread.neighbourhood import Scope, scope_name, split_ids
from swarmharness.credit.spread.ranges import ID_BYTES, Interval, expand
from swarmharness.credit.spread.session import SpreadParts, ready_index, whole
from swarmharness.credit.spread.strangers import StrangersBudget
from swarmharness.errors import RefusedError, UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Tally

SCOPES_MAX = 256
_EXPANDED_A_TURN = 8


class Answerer:
    """The handlers of all methods of spreading."""

    def __init__(
        self,
        parts: SpreadParts,
        *,
        refused: Tally,
        on_gossip: Callable[[PeerId, Sequence[Receipt]], Awaitable[None]],
        on_opening: Callable[[PeerId, frozenset[bytes]], None],
    ) -> None:
        self._parts, self._refused = parts, refused
        self._on_gossip, self._on_opening = on_gossip, on_opening
        self.ready = False
        """Whether all that is stored has been loaded: before, a comparison would say that most of it is missing."""
        self._scopes: OrderedDict[PeerId, Scope] = OrderedDict()
        settings = parts.settings
        self._requests = TokenBuckets(per_s=settings.requests_per_s, burst=settings.requests_burst)
        self._strangers = StrangersBudget(settings, parts.clock)
        for method, handler in (
            (GOSSIP_METHOD, self._gossip),
            (OPEN_METHOD, self._open),
            (CHAINS_METHOD, self._chains),
            (RANGES_METHOD, self._ranges),
            (FETCH_METHOD, self._fetch),
            (SHOW_METHOD, self._show),
        ):
            parts.transport.handle(method, handler)

    async def _gossip(self, request: Request) -> bytes:
        message = decode(Gossip, request.payload)
        stored = await self._parts.intake.take(message.receipts, sender=request.peer_id, asked=False)
        if stored:
            await self._on_gossip(request.peer_id, stored)
        return encode(GossipAnswer(len(stored), self._parts.near.interest_ids))

    async def _open(self, request: Request) -> bytes:
        await self._charge(request)
        theirs = decode(Opening, request.payload)
        if not self.ready:
            problem = "this node has just started and still reads its receipts: try again in a moment"
            raise UnavailableError(problem).for_peers()
        parts = self._parts
        parts.near.advance(epoch_of(parts.clock.unix_us()))
        interests = split_ids(theirs.interests)
        self._on_opening(request.peer_id, interests)
        for proof in theirs.proofs:
            await parts.bans.take(proof, sender=request.peer_id)
        self._scopes[request.peer_id] = parts.near.shared_scope(interests)
        self._scopes.move_to_end(request.peer_id)
        if len(self._scopes) > SCOPES_MAX:
            self._scopes.popitem(last=False)
        lacking = parts.bans.lacking(split_ids(theirs.forkers))
        return encode(Opening(parts.near.oldest_epoch, parts.near.interest_ids, parts.bans.forkers(), lacking))

    async def _chains(self, request: Request) -> bytes:
        await self._charge(request)
        message = decode(ChainsRequest, request.payload)
        found: dict[bytes, Entry] = {}
        for place in message.frontiers:
            left = BATCH_MAX - len(found)
            if left <= 0:
                break
            entries = await self._parts.store.entries_after(
                place.signer, place.incarnation, place.number - 1, limit=left
            )
            for entry in entries:
                assert entry.requester_half is not None
                found.setdefault(entry.requester_half.content.body_digest, entry)
        return encode(Gossip(whole(list(found.values()))))

    async def _ranges(self, request: Request) -> bytes:
        await self._charge(request)
        message = decode(RangesRequest, request.payload)
        index = await self._index(request.peer_id, message.scope)
        contents = []
        for number, bounds in enumerate(message.ranges):
            told = expand(index, Interval(bounds.lower, bounds.upper))
            contents.append(RangeContents(told.bounds, told.fingerprints, told.ids))
            if number % _EXPANDED_A_TURN == _EXPANDED_A_TURN - 1:
                await trio.lowlevel.checkpoint()
        return encode(RangesAnswer(tuple(contents)))

    async def _fetch(self, request: Request) -> bytes:
        await self._charge(request)
        message = decode(FetchRequest, request.payload)
        index = await self._index(request.peer_id, message.scope)
        ids = [message.ids[at : at + ID_BYTES] for at in range(0, len(message.ids), ID_BYTES)]
        digests = self._parts.near.digests(index, ids)
        return encode(Gossip(whole(await self._parts.store.entries(digests))))

    async def _show(self, request: Request) -> bytes:
        await self._charge(request)
        message = decode(ShowRequest, request.payload)
        near, most = self._parts.near, self._parts.settings.shown_receipts_max
        digests = near.earned(split_ids(message.requesters), min(most, BATCH_MAX))
        return encode(Gossip(whole(await self._parts.store.entries(digests))))

    async def _index(self, peer: PeerId, name: bytes) -> KeyIndex:
        scope = self._scopes.get(peer)
        if not scope or scope_name(scope) != name:
            self._refused.note(SpreadProblem.UNKNOWN_SCOPE, peer, mild=True)
            raise RefusedError(f"{SpreadProblem.UNKNOWN_SCOPE}: open a new comparison")
        return await ready_index(self._parts.near, scope)

    async def _charge(self, request: Request) -> None:
        """Have a peer pay for its request before it is decoded; strangers may have to wait for each other."""
        parts, peer = self._parts, request.peer_id
        if not self._requests.take(peer, 1, parts.clock.monotonic_us()):
            self._refused.note(SpreadProblem.TOO_MANY_REQUESTS, peer, mild=True)
            raise RefusedError(f"{SpreadProblem.TOO_MANY_REQUESTS}: try again in a minute")
        if parts.near.is_partner(peer):
            return
        if not await self._strangers.spend(peer, request.method, len(request.payload)):
            self._refused.note(SpreadProblem.STRANGERS_BUSY, peer, mild=True)
            raise RefusedError(f"{SpreadProblem.STRANGERS_BUSY}: try again in a minute")
