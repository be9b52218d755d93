"""The port through which receipts are kept; it never verifies a signature, callers do that before they commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from swarmharness.credit.accounts import Balance, Entry
from swarmharness.credit.chain import Floor
from swarmharness.credit.forks import ForkProof
from swarmharness.credit.holds import Hold
from swarmharness.credit.incarnations import Sighting
from swarmharness.credit.ledger import Claim
from swarmharness.credit.receipt import Half
from swarmharness.credit.terms import UnsettledTask
from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId

PRUNED_AT_ONCE = 2_000
"""So that the one writer is free again after a few hundredths of a second."""


@dataclass(frozen=True, slots=True)
class Game:
    """A game as the canonical JSON in which its digest was computed."""

    digest: bytes
    epoch: int
    """Of the receipts that name it: with them it is forgotten."""
    text: bytes


@dataclass(frozen=True, slots=True)
class Invited:
    """An invite of this node was used by a peer, and gave it a line of credit."""

    token: bytes
    peer_id: PeerId
    microcredits: int


class StoreHealth:
    """Whether a store takes what it is given, as its last write told."""

    def __init__(self) -> None:
        self.problem = ""
        """Why the last write failed; empty if it did not."""
        self.changed: Callable[[], None] = lambda: None
        """Called when there is a problem and there was none, or the other way round; it must not wait."""

    def failed(self, error: SwarmError) -> None:
        """Hear that a write failed."""
        self._now(str(error))

    def worked(self) -> None:
        """Hear that a write did not fail."""
        if self.problem:
            self._now("")

    def _now(self, problem: str) -> None:
        changes, self.problem = bool(problem) != bool(self.problem), problem
        if changes:
            self.changed()


class ReceiptStore(Protocol):
    """Keeps entries for good. All errors are SwarmErrors; UnavailableError means that nothing was changed.

    Changes are made one after the other, in the order of the calls. A call that is cancelled has changed nothing, or
    it is waited for and ends as if it were not cancelled. So whoever calls brings what it keeps in memory up to date in
    the next line, and memory follows from the disk (S-3).
    """

    health: StoreHealth

    @property
    def moved(self) -> bool:
        """Whether this is another file than at the last start: copied, or restored from a backup."""

    @property
    def interrupted(self) -> bool:
        """Whether the machine went down while this file was open, so that its disk may have lost the last writes.

        So it is for a file that was moved. A process that was killed is no such thing: what it wrote is there. It
        stays so, also through restarts, until a `floor` is set.
        """

    async def commit(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """Keep these entries, all or none, on disk when this returns; return proofs against new forkers among them.

        An entry that is already known gains the halves that it lacked. A second half for a known place of a chain
        is kept beside the first, as evidence.
        """

    async def commit_lightly(self, entries: Sequence[Entry]) -> tuple[ForkProof, ...]:
        """Do as `commit`, but what is kept survives the end of the process, and perhaps not that of the machine."""

    def quick(self, *, durable: bool) -> bool:
        """Tell whether `commit_now` would take no longer now than handing the work to somebody else."""

    def commit_now(self, entries: Sequence[Entry], *, durable: bool) -> tuple[ForkProof, ...]:
        """Do as `commit`, or as `commit_lightly`, in the caller's own time; only if `quick`."""

    async def head(self, signer: PeerId) -> Half | None:
        """Return the signer's half with the highest (incarnation, number)."""

    async def entry(self, digest: bytes) -> Entry | None:
        """Return the entry with this body digest; if a party signed the body twice, with its earlier half."""

    async def unfinished(self, requester: PeerId, *, stored_after_us: int, limit: int) -> list[Entry]:
        """Return the newest entries of this requester, kept since then, that lack the worker's half."""

    async def balance(self, peer_id: PeerId) -> Balance:
        """Add up the receipts that name this peer."""

    async def history(self, peer_id: PeerId, *, limit: int) -> list[Entry]:
        """Return the entries that name this peer, newest first."""

    async def claims(self, *, oldest_epoch: int) -> list[Claim]:
        """Return what the receipts from this epoch on say about money: a ledger is made of it."""

    async def claims_page(self, *, oldest_epoch: int, after: int, limit: int) -> tuple[list[Claim], int]:
        """Return some of the same, at least one if any is left, and the next `after`; the first is 0."""

    async def sightings(self, *, oldest_epoch: int, newest_epoch: int) -> list[Sighting]:
        """Return, per incarnation of each key, the latest of these epochs in which a receipt was signed under it."""

    async def forks(self) -> list[ForkProof]:
        """Return one proof for each key that is known to have forked; they are kept for good."""

    async def keep_fork(self, proof: ForkProof) -> bool:
        """Keep a verified proof; tell whether its signer was not known to have forked before."""

    async def holds(self, *, oldest_epoch: int) -> list[Hold]:
        """Return what was promised from this epoch on."""

    async def keep_holds(self, holds: Sequence[Hold]) -> None:
        """Add to what was promised."""

    async def prune(self, own: PeerId, *, oldest_epoch: int, limit: int = PRUNED_AT_ONCE) -> int:
        """Forget holds and up to `limit` receipts between others from before this epoch; return how many went (C-8)."""

    async def entries(self, digests: Sequence[bytes]) -> list[Entry]:
        """Return the entries with these digests, in this order; unknown ones are left out."""

    async def heads(self, signers: Sequence[str]) -> list[Half]:
        """Return `head` of each of these signers that has one."""

    async def entries_after(self, signer: str, incarnation: int, number: int, *, limit: int) -> list[Entry]:
        """Return the complete entries that follow this place in the signer's chains, in the order of their places."""

    async def known_below(self, places: Sequence[tuple[str, int, int]]) -> list[int]:
        """Return, for each (signer, incarnation, number), the highest lower number known of that chain, or -1."""

    async def partners(self, peer_id: PeerId, *, limit: int) -> list[PeerId]:
        """Return those with whom this peer has the newest entries, the newest first."""

    async def unsettled(self) -> list[UnsettledTask]:
        """Return the tasks that were answered and not settled, oldest first."""

    async def keep_unsettled(self, new: Sequence[UnsettledTask], settled: Sequence[UnsettledTask]) -> None:
        """Add and remove such tasks."""

    async def games(self, digests: Sequence[bytes]) -> list[Game]:
        """Return the games with these digests, in this order; unknown ones are left out."""

    async def keep_games(self, games: Sequence[Game]) -> None:
        """Keep games, so that the shares of receipts can be recomputed."""

    async def invited(self) -> list[Invited]:
        """Return whom this node's invites brought."""

    async def keep_invited(self, invited: Invited) -> None:
        """Remember that an invite was used; it must not have been before."""

    async def set_floor(self, floor: Floor) -> None:
        """Remember that the own chain goes on there or later."""

    async def floor(self) -> Floor | None:
        """Return what `set_floor` set last."""

    async def seal(self, incarnation: int) -> None:
        """Remember that this node's own chain ends in this incarnation and all before: parts came from elsewhere."""

    async def sealed(self) -> int:
        """Return the highest sealed incarnation, or -1."""

    async def try_write(self) -> None:
        """Write what changes nothing, to learn whether the disk takes anything; raises as a commit does."""
