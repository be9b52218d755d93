"""Which receipts a node keeps, whom it follows, and the index of each comparison; pure.

The rules are C-19 and C-20 of docs/credit-rules.md. It holds keys and peer ids, never a receipt.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.receipt import EPOCH_SKEW_MAX
from swarmharness.credit.spread.key_index import EPOCH_BYTES, KeyIndex, epoch_bound, key_of
from swarmharness.credit.spread.messages import INTERESTS_MAX, SHORT_BYTES

INDEXES_MAX = 8
"""How many sets of peers have their index kept up to date; partners that have the same ones share it."""
FOLLOWED_MAX = 2
"""So many partners a node follows, and all of them while they are no more than twice as many."""
SIGNER_RECEIPTS_MAX = 100_000
"""Of one signer's receipts with others, so many are kept."""
_LATE_AT_ONCE = 256
"""About a millisecond's work."""

Scope = frozenset[str]
Pair = tuple[str, str]
"""Requester and worker."""


@lru_cache(maxsize=16_384)
def short_id(peer: str) -> bytes:
    """Return the short id of a peer."""
    return hashlib.sha256(peer.encode()).digest()[:SHORT_BYTES]


@lru_cache(maxsize=16_384)
def place_of(peer: str) -> int:
    """Return where a peer's id lies among all; how near two are is the XOR of their places."""
    return int.from_bytes(hashlib.sha256(peer.encode()).digest(), "big")


@lru_cache(maxsize=16_384)
def pair_of(requester: str, worker: str) -> Pair:
    """Return the two as one object for many receipts, which takes less memory."""
    return requester, worker


def short_ids(peers: Iterable[str], most: int = INTERESTS_MAX) -> bytes:
    """Return the ascending short ids of these peers, no more than `most`."""
    return b"".join(sorted({short_id(peer) for peer in peers})[:most])


def split_ids(blob: bytes) -> frozenset[bytes]:
    """Return the short ids in a message's field; what is left over at the end is ignored."""
    return frozenset(blob[at : at + SHORT_BYTES] for at in range(0, len(blob) - SHORT_BYTES + 1, SHORT_BYTES))


def scope_name(scope: Scope) -> bytes:
    """Return the short name of a set of peers, by which both sides mean the same set."""
    return hashlib.sha256(short_ids(scope)).digest()[:SHORT_BYTES]


@dataclass(slots=True)
class _Kept:
    """The index of a scope, and the keys that came since it was asked for: many indexes are not asked for again."""

    scope: Scope
    index: KeyIndex = field(default_factory=KeyIndex)
    late: list[bytes] = field(default_factory=list)


class Neighbourhood:
    """The receipts that one node keeps, as far as spreading them needs to know."""

    def __init__(
        self, me: str, epoch: int, *, horizon_epochs: int = HORIZON_EPOCHS, followed_max: int = FOLLOWED_MAX
    ) -> None:
        self.me, self.epoch, self.horizon_epochs = me, epoch, horizon_epochs
        self.oldest_epoch = max(0, epoch - horizon_epochs + 1)
        """The first epoch that still counts (C-8)."""
        self._followed_max = followed_max
        self._known: defaultdict[int, dict[bytes, Pair]] = defaultdict(dict)
        """The parties of each receipt, by its epoch and its key."""
        self._partners: dict[str, int] = {}
        """With whom this node has receipts, and the epoch of the newest."""
        self._workers: dict[str, int] = {}
        """The same for those who worked for this node."""
        self._earned: dict[str, list[bytes]] = {}
        """The keys of the receipts of this node's work, by requester."""
        self._followed: Scope = frozenset()
        self._interests: Scope = frozenset({me})
        self.interest_ids = short_ids(self._interests)
        """The same as `interests`, as messages have them."""
        self._with_others: Counter[str] = Counter()
        self._indexes: OrderedDict[Scope, _Kept] = OrderedDict()
        self._building: list[_Kept] = []

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    @property
    def followed(self) -> Scope:
        """The partners all of whose receipts this node keeps: those whose ids lie nearest to its own (C-19).

        Whom that strikes changes ever more seldom, and nobody can choose to be struck by all others.
        """
        return self._followed

    @property
    def workers(self) -> Collection[str]:
        """Who worked for this node within the horizon."""
        return self._workers.keys()

    def knows(self, epoch: int, digest: bytes) -> bool:
        """Tell whether a receipt was added."""
        return key_of(epoch, digest) in self._known.get(epoch, ())

    def is_due(self, epoch: int) -> bool:
        """Tell whether receipts of this epoch are kept: within the horizon, and not ahead of any honest clock."""
        return self.oldest_epoch <= epoch <= self.epoch + EPOCH_SKEW_MAX

    def interests(self) -> Scope:
        """Return the peers all of whose receipts this node keeps: itself and whom it follows (C-19)."""
        return self._interests

    def is_partner(self, peer: str) -> bool:
        """Tell whether this node has a receipt with a peer."""
        return peer in self._partners

    def wants(self, requester: str, worker: str) -> bool:
        """Tell whether a receipt between these two is kept (C-19).

        A party is this node or one that it follows, or the requester has worked for this node.
        """
        followed = self._followed
        return (
            self.me in (requester, worker) or requester in followed or worker in followed or requester in self._workers
        )

    def is_full(self, requester: str, worker: str) -> bool:
        """Tell whether a party has as many receipts here as any may have (C-20)."""
        if self.me in (requester, worker):
            return False
        others = self._with_others
        return max(others.get(requester, 0), others.get(worker, 0)) >= SIGNER_RECEIPTS_MAX

    def earned(self, requesters: frozenset[bytes], most: int) -> list[bytes]:
        """Return digests of receipts of this node's work for the peers with these short ids, the newest first."""
        keys = [key for peer, keys in self._earned.items() if short_id(peer) in requesters for key in keys[-most:]]
        return [key[EPOCH_BYTES:] for key in sorted(keys, reverse=True)[:most]]

    def add(self, epoch: int, digest: bytes, requester: str, worker: str) -> bool:
        """Take a receipt into account that this node keeps; tell whether it is new."""
        if epoch < self.oldest_epoch:
            return False
        key, known = key_of(epoch, digest), self._known[epoch]
        if key in known:
            return False
        known[key] = pair = pair_of(requester, worker)
        if self.me in pair:
            self._add_own(key, epoch, requester, worker)
        else:
            self._with_others[requester] += 1
            self._with_others[worker] += 1
        for kept in (*self._indexes.values(), *self._building):
            if requester in kept.scope or worker in kept.scope:
                kept.late.append(key)
        return True

    def _add_own(self, key: bytes, epoch: int, requester: str, worker: str) -> None:
        if worker == self.me:
            self._earned.setdefault(requester, []).append(key)
            partner = requester
        else:
            self._workers[worker] = max(epoch, self._workers.get(worker, 0))
            partner = worker
        new = partner not in self._partners
        self._partners[partner] = max(epoch, self._partners.get(partner, 0))
        if new:
            self._follow((*self._followed, partner))

    def _follow(self, among: Iterable[str]) -> None:
        """Follow those partners, or the nearest of them; `among` holds at least all whom that may strike."""
        here, most = place_of(self.me), self._followed_max
        if len(self._partners) <= 2 * most:
            most = len(self._partners)
        followed = frozenset(sorted(among, key=lambda peer: place_of(peer) ^ here)[:most])
        if followed != self._followed:
            self._followed, self._interests = followed, followed | {self.me}
            self.interest_ids = short_ids(self._interests)

    def advance(self, epoch: int) -> None:
        """Let time pass: receipts beyond the horizon are forgotten, and partners with them."""
        if epoch <= self.epoch:
            return
        self.epoch, self.oldest_epoch = epoch, max(0, epoch - self.horizon_epochs + 1)
        bound = epoch_bound(self.oldest_epoch)
        for old in [known for known in self._known if known < self.oldest_epoch]:
            for pair in self._known.pop(old).values():
                if self.me not in pair:
                    self._with_others.subtract(pair)
        self._with_others = +self._with_others
        for kept in self._indexes.values():
            kept.index.drop_below(bound)
            kept.late = [key for key in kept.late if key >= bound]
        self._earned = {peer: left for peer, keys in self._earned.items() if (left := [k for k in keys if k >= bound])}
        self._workers = {peer: newest for peer, newest in self._workers.items() if newest >= self.oldest_epoch}
        self._partners = {peer: newest for peer, newest in self._partners.items() if newest >= self.oldest_epoch}
        self._follow(self._partners)

    def shared_scope(self, interests: frozenset[bytes]) -> Scope:
        """Return those of the own interests that a peer with these short ids has too: both keep all their receipts."""
        return frozenset(peer for peer in self.interests() if short_id(peer) in interests)

    def index(self, scope: Scope) -> KeyIndex | None:
        """Return the index of the receipts of these peers, if bringing it up to date is not much work."""
        kept = self._indexes.get(scope)
        if kept is None or len(kept.late) > _LATE_AT_ONCE:
            return None
        self._indexes.move_to_end(scope)
        self._catch_up(kept)
        return kept.index

    def build(self, scope: Scope, *, at_once: int = 2_000) -> Iterator[None]:
        """Make that index or bring it up to date, in steps of about a millisecond; at the end, `index` returns it."""
        found = self._indexes.pop(scope, None)
        kept = found or _Kept(scope)
        self._building.append(kept)
        try:
            if found is None:
                yield from self._fill(kept, at_once)
            while len(kept.late) > _LATE_AT_ONCE:
                self._catch_up(kept)
                yield
        finally:
            self._building = [other for other in self._building if other is not kept]
        self._catch_up(kept)
        kept.index.drop_below(epoch_bound(self.oldest_epoch))
        self._indexes[scope] = kept
        while len(self._indexes) > INDEXES_MAX:
            self._indexes.popitem(last=False)

    def _fill(self, kept: _Kept, at_once: int) -> Iterator[None]:
        """Put in what is known, in order; a large epoch is sorted by parts, so that no step takes long."""
        ascending: list[bytes] = []
        for epoch in sorted(self._known):
            parts: defaultdict[int, list[bytes]] = defaultdict(list)
            todo = list(self._known.get(epoch, ()))
            for start in range(0, len(todo), at_once):
                known = self._known.get(epoch, {})
                for key in todo[start : start + at_once]:
                    if not kept.scope.isdisjoint(known.get(key, ())):
                        parts[key[EPOCH_BYTES]].append(key)
                if len(todo) > at_once:
                    yield
            for part in sorted(parts):
                ascending += sorted(parts[part])
                if len(ascending) >= at_once:
                    kept.index.append(ascending)
                    ascending = []
                    yield
        kept.index.append(ascending)
        yield

    def _catch_up(self, kept: _Kept) -> None:
        late, kept.late = kept.late[:_LATE_AT_ONCE], kept.late[_LATE_AT_ONCE:]
        for key in late:
            kept.index.add(key)

    def digests(self, index: KeyIndex, ids: Iterable[bytes]) -> list[bytes]:
        """Return the digests of the receipts in an index whose keys begin with these ids."""
        found = []
        for beginning in ids:
            rank = index.rank(beginning)
            if rank < len(index) and (key := index.key_at(rank)).startswith(beginning):
                found.append(key[EPOCH_BYTES:])
        return found
