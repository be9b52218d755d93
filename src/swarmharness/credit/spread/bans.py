"""Proved forkers: proofs are checked, kept, told to everybody once, and their signers banned here (C-15, C-16)."""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio

from swarmharness.credit.forks import ForkProof, proof_problem
from swarmharness.credit.spread.intake import SpreadProblem
from swarmharness.credit.spread.messages import FORKERS_MAX, FORKS_TOPIC, PROOFS_MAX
from swarmharness.credit.spread.neighbourhood import short_id, short_ids
from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.ports import Broadcast
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.ports import Clock
from swarmharness.protocol.codec import decode, encode
from swarmharness.refusals import Tally

_PROOFS_PER_S = 5
_PROOFS_BURST = 64
"""Unknown proofs that one peer may have checked here."""
_ALL_PROOFS_PER_S = 2
_ALL_PROOFS_BURST = 1_024
PROOFS_KEPT_MAX = 65_536
"""Keys cost nothing, so the proofs that somebody can make must not fill the disk either."""
_QUEUE_MAX = 256
_EVERYBODY = ""

_log = logging.getLogger(__name__)


class Bans:
    """Who has forked, with the proofs."""

    def __init__(self, store: ReceiptStore, broadcast: Broadcast, me: PeerId, clock: Clock, *, refused: Tally) -> None:
        self._store, self._broadcast, self._me, self._clock, self._refused = store, broadcast, me, clock, refused
        self._proofs: dict[str, ForkProof] = {}
        self._to_publish: list[ForkProof] = []
        self._wake = trio.Event()
        self._limits = TokenBuckets(per_s=_PROOFS_PER_S, burst=_PROOFS_BURST)
        self._all = TokenBuckets(per_s=_ALL_PROOFS_PER_S, burst=_ALL_PROOFS_BURST)
        self.listeners: list[Callable[[PeerId], None]] = []
        """Called with every peer that is banned from now on."""
        broadcast.subscribe(FORKS_TOPIC, self._hear)

    def is_banned(self, peer: str) -> bool:
        """Tell whether a peer is a proved forker; this node is never banned by itself."""
        return peer in self._proofs and peer != self._me

    def banned(self) -> frozenset[str]:
        """Return all whom this node serves no more."""
        return frozenset(self._proofs) - {self._me}

    def forkers(self) -> bytes:
        """Return short ids of all known forkers, for an Opening."""
        return short_ids(self._proofs, FORKERS_MAX)

    def lacking(self, forkers: frozenset[bytes]) -> tuple[ForkProof, ...]:
        """Return proofs, not too many for one message, of those forkers that are not among these."""
        found = [proof for signer, proof in sorted(self._proofs.items()) if short_id(signer) not in forkers]
        return tuple(found[:PROOFS_MAX])

    async def take(self, proof: ForkProof, *, sender: PeerId, flood: bool = True) -> bool:
        """Check a proof that a peer sent; if it holds and is new, ban its signer and tell so.

        `flood` tells everybody, unless the proof came by a broadcast, which goes on by itself.
        """
        if proof.signer in self._proofs:
            return False
        now_us = self._clock.monotonic_us()
        full = len(self._proofs) >= PROOFS_KEPT_MAX
        if full or not (self._limits.take(sender, 1, now_us) and self._all.take(_EVERYBODY, 1, now_us)):
            self._refused.note(SpreadProblem.SENDER_TOO_FAST, sender, mild=True)
            return False
        if proof_problem(proof) is not None:
            self._refused.note(SpreadProblem.INVALID_PROOF, sender)
            return False
        await self._store.keep_fork(proof)
        if flood:
            self.found(proof)
        elif proof.signer not in self._proofs:
            self._ban(proof)
        return True

    def found(self, proof: ForkProof) -> None:
        """Ban the signer of a proof that holds and is stored, and tell everybody, once."""
        if proof.signer in self._proofs:
            return
        self._ban(proof)
        if len(self._to_publish) < _QUEUE_MAX:
            self._to_publish.append(proof)
            self._wake.set()

    async def load(self) -> None:
        """Ban whom the store knows to have forked."""
        for proof in await self._store.forks():
            if proof.signer not in self._proofs:
                self._ban(proof)

    async def run(self) -> None:
        """Publish what is found, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._to_publish:
                try:
                    await self._broadcast.publish(FORKS_TOPIC, encode(self._to_publish.pop(0)))
                except SwarmError as error:
                    _log.warning("a fork proof was not published: %s", error)

    async def _hear(self, sender: PeerId, data: bytes) -> bool:
        try:
            proof = decode(ForkProof, data)
            return await self.take(proof, sender=sender, flood=False)
        except ProtocolError:
            self._refused.note(SpreadProblem.MALFORMED, sender)
        except SwarmError as error:
            _log.warning("a fork proof could not be kept: %s", error, extra=by_peers())
        return False

    def _ban(self, proof: ForkProof) -> None:
        self._proofs[proof.signer] = proof
        if proof.signer == self._me:
            _log.error("this node's own key signed two histories: other nodes serve it no more; start with a new key")
            return
        _log.warning(
            "%s signed two histories; the proof is kept, and it is served no more", proof.signer, extra=by_peers()
        )
        for listener in self.listeners:
            listener(proof.signer)
