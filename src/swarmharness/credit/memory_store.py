"""The twin of the receipt store in memory: for simulation, and for nodes that only submit once; it never verifies."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import islice

from swarmharness.credit.accounts import Balance, Entry, balance_of
from swarmharness.credit.chain import Floor, place_of
from swarmharness.credit.forks import ForkProof, fork_proof
from swarmharness.credit.holds import Hold, Holds
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import Claim, claim_of
from swarmharness.credit.receipt import Half, body_digest
from swarmharness.credit.store import PRUNED_AT_ONCE, Game, Invited, StoreHealth
from swarmharness.credit.terms import UnsettledTask
from swarmharness.identity import PeerId


class MemoryReceiptStore:
    """Keeps entries in memory without threads: for simulation, and for nodes that only submit once."""

    def __init__(self) -> None:
        self.health = StoreHealth()
        self._entries: dict[bytes, Entry] = {}
        self._chains: dict[str, list[Half]] = {}
        """The halves of each signer in the order of their places; two at one place, which make a fork, as they came."""
        self._forks: dict[str, ForkProof] = {}
        self._holds = Holds()
        self._sealed = -1
        self._floor: Floor | None = None
        self._unsettled: dict[tuple[str, bytes], UnsettledTask] = {}
        self._games: dict[bytes, Game] = {}
        self._invited: dict[bytes, Invited] = {}

    @property
    def moved(self) -> bool:
        """See `ReceiptStore`."""
        return False

    @property
    def interrupted(self) -> bool:
        """See `ReceiptStore`."""
        return False

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        return self.put(entries)

    def put(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """Do as `commit`, which never waits here."""
        proofs: list[ForkProof] = []
        for entry in entries:
            digest = body_digest(entry.body)
            known = self._entries.get(digest)
            if known is None:
                self._entries[digest] = entry
            else:
                self._entries[digest] = Entry(
                    known.body,
                    _earlier(known.requester_half, entry.requester_half),
                    _earlier(known.worker_half, entry.worker_half),
                    known.stored_us,
                )
            for half in (entry.requester_half, entry.worker_half):
                proof = None if half is None else self._link(half)
                if proof is not None and self._forks.setdefault(proof.signer, proof) is proof:
                    proofs.append(proof)
        return tuple(proofs)

    def _link(self, half: Half) -> ForkProof | None:
        """Put a half into its signer's chain; return the proof that it makes with another one at its place."""
        chain = self._chains.get(half.content.signer)
        if chain is None:
            self._chains[half.content.signer] = [half]
            return None
        place = place_of(half)
        if place_of(chain[-1]) < place:
            chain.append(half)
            return None
        first = at = bisect_left(chain, place, key=place_of)
        while at < len(chain) and place_of(chain[at]) == place:
            if chain[at].content == half.content:
                return None
            at += 1
        chain.insert(at, half)
        return fork_proof(chain[first], half) if at > first else None

    async def commit_lightly(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        return await self.commit(entries)

    def quick(self, *, durable: bool) -> bool:
        """See `ReceiptStore`."""
        return False

    def commit_now(self, entries: Sequence[Entry], *, durable: bool) -> tuple[ForkProof, ...]:
        """See `ReceiptStore`."""
        raise NotImplementedError

    async def head(self, signer: PeerId) -> Half | None:
        """See `ReceiptStore`."""
        return next(iter(await self.heads([signer])), None)

    async def entry(self, digest: bytes) -> Entry | None:
        """See `ReceiptStore`."""
        return self._entries.get(digest)

    async def unfinished(self, requester: PeerId, *, stored_after_us: int, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        found = [
            entry
            for entry in reversed(self._entries.values())
            if entry.body.requester == requester and entry.worker_half is None and entry.stored_us > stored_after_us
        ]
        return [entry for entry in found if entry.requester_half is not None][:limit]

    async def balance(self, peer_id: PeerId) -> Balance:
        """See `ReceiptStore`."""
        own = [entry for entry in self._entries.values() if peer_id in (entry.body.requester, entry.body.worker)]
        bodies = [entry.body for entry in own if entry.complete]
        flows = [(body.requester, body.worker, body.share_microcredits, 1) for body in bodies]
        return balance_of(peer_id, flows, len(own) - len(flows))

    async def history(self, peer_id: PeerId, *, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        own = (e for e in reversed(self._entries.values()) if peer_id in (e.body.requester, e.body.worker))
        return [entry for entry, _ in zip(own, range(limit), strict=False)]

    async def claims(self, *, oldest_epoch: int) -> list[Claim]:
        """See `ReceiptStore`."""
        counted = [
            entry.body for entry in self._entries.values() if entry.complete and entry.body.epoch >= oldest_epoch
        ]
        return [claim_of(body) for body in sorted(counted, key=lambda body: body.epoch)]

    async def claims_page(self, *, oldest_epoch: int, after: int, limit: int) -> tuple[list[Claim], int]:
        """See `ReceiptStore`."""
        return ([] if after else await self.claims(oldest_epoch=oldest_epoch)), 1

    async def sightings(self, *, oldest_epoch: int, newest_epoch: int) -> list[Sighting]:
        """See `ReceiptStore`."""
        latest: dict[tuple[str, int], int] = {}
        for signer, chain in self._chains.items():
            for half in chain:
                entry = self._entries[half.content.body_digest]
                if entry.complete and oldest_epoch <= entry.body.epoch <= newest_epoch:
                    incarnation = signer, half.content.incarnation
                    latest[incarnation] = max(latest.get(incarnation, oldest_epoch), entry.body.epoch)
        return [Sighting(*key, epoch) for key, epoch in sorted(latest.items())]

    async def forks(self) -> list[ForkProof]:
        """See `ReceiptStore`."""
        return [self._forks[signer] for signer in sorted(self._forks)]

    async def keep_fork(self, proof: ForkProof) -> bool:
        """See `ReceiptStore`."""
        new = proof.signer not in self._forks
        self._forks.setdefault(proof.signer, proof)
        return new

    async def holds(self, *, oldest_epoch: int) -> list[Hold]:
        """See `ReceiptStore`."""
        return [hold for hold in self._holds if hold.epoch >= oldest_epoch]

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        """See `ReceiptStore`."""
        self._holds.add(holds)

    async def prune(self, own: PeerId, *, oldest_epoch: int, limit: int = PRUNED_AT_ONCE) -> int:
        """See `ReceiptStore`."""
        found = (
            digest
            for digest, entry in self._entries.items()
            if entry.body.epoch < oldest_epoch and own not in (entry.body.requester, entry.body.worker)
        )
        old = set(islice(found, limit))
        for digest in old:
            del self._entries[digest]
        for signer, chain in list(self._chains.items()) if old else ():
            self._chains[signer] = [half for half in chain if half.content.body_digest not in old]
            if not self._chains[signer]:
                del self._chains[signer]
        self._games = {digest: game for digest, game in self._games.items() if game.epoch >= oldest_epoch}
        kept = [hold for hold in self._holds if hold.epoch >= oldest_epoch]
        self._holds = Holds()
        self._holds.add(kept)
        return len(old)

    async def entries(self, digests: Sequence[bytes]) -> list[Entry]:
        """See `ReceiptStore`."""
        return [self._entries[digest] for digest in digests if digest in self._entries]

    async def heads(self, signers: Sequence[str]) -> list[Half]:
        """See `ReceiptStore`."""
        chains = [self._chains[signer] for signer in signers if signer in self._chains]
        return [chain[bisect_left(chain, place_of(chain[-1]), key=place_of)] for chain in chains]

    async def entries_after(self, signer: str, incarnation: int, number: int, *, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        chain = self._chains.get(signer, [])
        found: list[Entry] = []
        last = incarnation, number
        for half in islice(chain, bisect_right(chain, last, key=place_of), None):
            entry = self._entries[half.content.body_digest]
            if entry.complete and place_of(half) != last:
                found.append(entry)
                if len(found) == limit:
                    break
            last = place_of(half)
        return found

    async def known_below(self, places: Sequence[tuple[str, int, int]]) -> list[int]:
        """See `ReceiptStore`."""
        found = []
        for signer, incarnation, number in places:
            chain = self._chains.get(signer, [])
            at = bisect_left(chain, (incarnation, number), key=place_of)
            below = chain[at - 1].content if at else None
            found.append(below.number if below is not None and below.incarnation == incarnation else -1)
        return found

    async def partners(self, peer_id: PeerId, *, limit: int) -> list[PeerId]:
        """See `ReceiptStore`."""
        own = await self.history(peer_id, limit=len(self._entries))
        others = (e.body.worker if e.body.requester == peer_id else e.body.requester for e in own)
        return [PeerId(peer) for peer in list(dict.fromkeys(others))[:limit]]

    async def unsettled(self) -> list[UnsettledTask]:
        """See `ReceiptStore`."""
        return sorted(self._unsettled.values(), key=lambda one: one.answered_us)

    async def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        """See `ReceiptStore`."""
        self._unsettled.update((one.key, one) for one in new)
        for one in settled:
            self._unsettled.pop(one.key, None)

    async def games(self, digests: Sequence[bytes]) -> list[Game]:
        """See `ReceiptStore`."""
        return [self._games[digest] for digest in digests if digest in self._games]

    async def keep_games(self, games: Sequence[Game]) -> None:
        """See `ReceiptStore`."""
        self._games.update((game.digest, game) for game in games)

    async def invited(self) -> list[Invited]:
        """See `ReceiptStore`."""
        return list(self._invited.values())

    async def keep_invited(self, invited: Invited) -> None:
        """See `ReceiptStore`."""
        self._invited[invited.token] = invited

    async def set_floor(self, floor: Floor) -> None:
        """See `ReceiptStore`."""
        self._floor = floor

    async def floor(self) -> Floor | None:
        """See `ReceiptStore`."""
        return self._floor

    async def seal(self, incarnation: int) -> None:
        """See `ReceiptStore`."""
        self._sealed = max(self._sealed, incarnation)

    async def sealed(self) -> int:
        """See `ReceiptStore`."""
        return self._sealed

    async def try_write(self) -> None:
        """See `ReceiptStore`."""


def _earlier(one: Half | None, other: Half | None) -> Half | None:
    halves = [half for half in (one, other) if half is not None]
    return min(halves, key=lambda half: (half.content.incarnation, half.content.number), default=None)
