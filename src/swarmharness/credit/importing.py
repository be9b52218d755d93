"""Takes entries and proofs from a file into a store, after checking every one; it reads no file and calls no peer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.archive import Refusal, refusal
from swarmharness.credit.attribution.game_file import read_game
from swarmharness.credit.forks import ForkProof, proof_problem
from swarmharness.credit.receipt import Half, Receipt, body_digest, epoch_of
from swarmharness.credit.store import Game, ReceiptStore
from swarmharness.errors import InputError
from swarmharness.identity import PeerId
from swarmharness.ports import Clock

_CHECKED_A_TURN = 4


@dataclass(slots=True)
class Imported:
    """What became of the contents of a file."""

    new: int = 0
    known: int = 0
    proofs: int = 0
    """New proofs of forks."""
    games: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Return the output of `credit import --json`."""
        return {
            "new": self.new,
            "known": self.known,
            "proofs": self.proofs,
            "games": self.games,
            "refused": dict(self.refused),
        }

    def add(self, other: dict[str, Any]) -> None:
        """Add what a node answered for a part of the file."""
        self.new += other["new"]
        self.known += other["known"]
        self.proofs += other["proofs"]
        self.games += other["games"]
        self.refused.update(other["refused"])


class Importer:
    """Checks and stores, a few hundred entries at a time.

    A node that runs refuses unknown halves of its own: its chain may have gone on since. Without a node they are taken,
    and the incarnations in which they lie are sealed: the node then opens another one before it signs (C-17).
    """

    def __init__(
        self,
        store: ReceiptStore,
        me: PeerId,
        clock: Clock,
        *,
        running: bool,
        on_receipts: Callable[[Sequence[Receipt]], None] = lambda receipts: None,
        on_proof: Callable[[ForkProof], None] = lambda proof: None,
    ) -> None:
        self._store, self._me, self._clock, self._running = store, me, clock, running
        self._on_receipts, self._on_proof = on_receipts, on_proof

    async def take(self, entries: Sequence[Entry]) -> Imported:
        """Store those that are valid and new, all or none of them; raises UnavailableError if the disk refuses."""
        done = Imported()
        now_us = self._clock.unix_us()
        chosen: dict[bytes, Entry] = {}
        for number, entry in enumerate(entries):
            problem = refusal(entry, self._me, epoch_of(now_us))
            if problem is not None:
                done.refused[problem] += 1
            else:
                chosen[body_digest(entry.body)] = replace(entry, stored_us=min(max(entry.stored_us, 0), now_us))
            if number % _CHECKED_A_TURN == _CHECKED_A_TURN - 1:
                await trio.lowlevel.checkpoint()
        known = {body_digest(entry.body): entry for entry in await self._store.entries(list(chosen))}
        new: list[Entry] = []
        for digest, entry in chosen.items():
            added = _added(entry, known.get(digest))
            own = [half for half in added if half.content.signer == self._me]
            if not added:
                done.known += 1
            elif own and self._running:
                done.refused[Refusal.OWN_CHAIN] += 1
            else:
                new.append(entry)
                done.new += 1
        await self._keep(new)
        return done

    async def take_proofs(self, proofs: Sequence[ForkProof]) -> Imported:
        """Store proofs that hold and are new."""
        done = Imported()
        for proof in proofs:
            problem = proof_problem(proof)
            if problem is not None:
                done.refused[problem] += 1
            elif await self._store.keep_fork(proof):
                done.proofs += 1
                self._on_proof(proof)
        return done

    async def take_games(self, games: Sequence[bytes]) -> Imported:
        """Store games that can be read; receipts name them by their digest, so a wrong one is never looked at."""
        done = Imported()
        epoch = epoch_of(self._clock.unix_us())
        good: list[Game] = []
        for text in games:
            await trio.lowlevel.checkpoint()
            try:
                good.append(Game(read_game(text).digest, epoch, text))
            except InputError:
                done.refused[Refusal.NO_GAME] += 1
        if good:
            await self._store.keep_games(good)
        done.games = len(good)
        return done

    async def _keep(self, new: list[Entry]) -> None:
        if not new:
            return
        own = [half for entry in new for half in _halves(entry) if half.content.signer == self._me]
        if own:  # before they are there, so that no crash leaves them there unsealed
            await self._store.seal(max(half.content.incarnation for half in own))
        for proof in await self._store.commit(new):
            self._on_proof(proof)
        self._on_receipts([receipt for entry in new if (receipt := entry.receipt) is not None])


def _halves(entry: Entry) -> list[Half]:
    return [half for half in (entry.requester_half, entry.worker_half) if half is not None]


def _added(entry: Entry, known: Entry | None) -> list[Half]:
    """Return the halves by parties whose half is not known yet; another half of a known one is evidence at most."""
    if known is None:
        return _halves(entry)
    pairs = ((entry.requester_half, known.requester_half), (entry.worker_half, known.worker_half))
    return [half for half, kept in pairs if half is not None and kept is None]
