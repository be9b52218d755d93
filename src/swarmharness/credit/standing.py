"""What `credit balance` and `credit top` say about standings, and why a peer is served or refused; pure, for people.

Nothing here decides anything: admission asks `admission.decide`, which uses flows and lines, never a standing (C-14).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from swarmharness.credit.admission import Doubts, Policy, residual_flow
from swarmharness.credit.holds import STRANGERS, Holds
from swarmharness.credit.ledger import Claim, Ledger, unexpired
from swarmharness.credit.receipt import EPOCH_US
from swarmharness.identity import PeerId

SOON_EPOCHS = 24


@dataclass(frozen=True, slots=True)
class Standing:
    """What one peer's receipts count as of one epoch, after melting (C-7)."""

    peer_id: str
    earned_microcredits: int
    spent_microcredits: int
    earned_soon_microcredits: int
    """What of the earned will still count `SOON_EPOCHS` later, if nothing is added."""
    spent_soon_microcredits: int
    receipts: int
    next_expiry: tuple[int, int] | None
    """When the oldest earned receipts count nothing any more (an epoch), and what they count now."""

    @property
    def standing_microcredits(self) -> int:
        """Earned less spent; over all peers this adds up to zero (C-5)."""
        return self.earned_microcredits - self.spent_microcredits

    def as_dict(self) -> dict[str, Any]:
        """Return an element of the answers about standings; times are Unix microseconds."""
        expiry = self.next_expiry
        return {
            "peer_id": self.peer_id,
            "standing_microcredits": self.standing_microcredits,
            "earned_microcredits": self.earned_microcredits,
            "spent_microcredits": self.spent_microcredits,
            "melting_microcredits": self.earned_microcredits - self.earned_soon_microcredits,
            "forgiven_microcredits": self.spent_microcredits - self.spent_soon_microcredits,
            "soon_s": SOON_EPOCHS * EPOCH_US // 1_000_000,
            "receipts": self.receipts,
            "expires_us": None if expiry is None else expiry[0] * EPOCH_US,
            "expiring_microcredits": 0 if expiry is None else expiry[1],
        }


def standing_of(peer: str, claims: Iterable[Claim], epoch: int, horizon_epochs: int) -> Standing:
    """Return the standing of one peer by these claims."""
    return _standing(peer, [c for c in claims if peer in (c.requester, c.worker)], epoch, horizon_epochs)


def standings(claims: Iterable[Claim], epoch: int, horizon_epochs: int) -> list[Standing]:
    """Return everybody's standing, the highest first."""
    by_peer: dict[str, list[Claim]] = {}
    for claim in claims:
        for peer in (claim.requester, claim.worker):
            by_peer.setdefault(peer, []).append(claim)
    found = [_standing(peer, its, epoch, horizon_epochs) for peer, its in by_peer.items()]
    return sorted(found, key=lambda one: (-one.standing_microcredits, one.peer_id))


def _standing(peer: str, claims: list[Claim], epoch: int, horizon_epochs: int) -> Standing:
    counted = [claim for claim in claims if 0 <= epoch - claim.epoch < horizon_epochs]

    def total(then: int, *, worker: bool) -> int:
        return sum(
            unexpired(claim.microcredits, then - claim.epoch, horizon_epochs)
            for claim in counted
            if (claim.worker if worker else claim.requester) == peer
        )

    left: dict[int, int] = {}
    for claim in counted:
        amount = unexpired(claim.microcredits, epoch - claim.epoch, horizon_epochs)
        if claim.worker == peer and amount:
            left[claim.epoch] = left.get(claim.epoch, 0) + amount
    oldest = min(left, default=None)
    soon = epoch + SOON_EPOCHS
    return Standing(
        peer_id=peer,
        earned_microcredits=total(epoch, worker=True),
        spent_microcredits=total(epoch, worker=False),
        earned_soon_microcredits=total(soon, worker=True),
        spent_soon_microcredits=total(soon, worker=False),
        receipts=len(counted),
        next_expiry=None if oldest is None else (oldest + horizon_epochs, left[oldest]),
    )


@dataclass(frozen=True, slots=True)
class PeerCredit:
    """What this node would do for one peer now, and what it knows that the peer would count in its favour."""

    peer_id: str
    flow_microcredits: int
    line_microcredits: int
    line_left_microcredits: int
    strangers_left_microcredits: int
    own: bool
    banned: bool
    renewed: bool
    withholding: bool
    flow_there_microcredits: int
    """The flow from this node to the peer over receipts that this node knows, before what the peer holds of it."""
    renewed_here: bool
    """Whether this node itself is a stranger elsewhere, after a new incarnation (C-18)."""

    @property
    def available_microcredits(self) -> int:
        """The dearest request of the peer that would be served here now, unless it is one of the own peers."""
        if self.banned:
            return 0
        return self.flow_microcredits + self.line_left_microcredits + self.strangers_left_microcredits

    def as_dict(self) -> dict[str, Any]:
        """Return the part `peer` of the answer of `credit.balance`."""
        return {
            "peer_id": self.peer_id,
            "available_microcredits": self.available_microcredits,
            "flow_microcredits": self.flow_microcredits,
            "line_microcredits": self.line_microcredits,
            "line_left_microcredits": self.line_left_microcredits,
            "strangers_left_microcredits": self.strangers_left_microcredits,
            "own": self.own,
            "banned": self.banned,
            "new_incarnation": self.renewed,
            "withholding": self.withholding,
            "flow_there_microcredits": self.flow_there_microcredits,
            "new_incarnation_here": self.renewed_here,
        }


def peer_credit(
    ledger: Ledger, holds: Holds, policy: Policy, doubts: Doubts, *, me: PeerId, peer: PeerId
) -> PeerCredit:
    """Return what admission would say about requests of `peer` (C-10 to C-12)."""
    untrusted = frozenset(doubts.banned) | frozenset(doubts.renewed)
    line, epoch = policy.lines.get(peer, 0), ledger.epoch
    strangers = policy.stranger_budget_microcredits - holds.taken_in(STRANGERS, epoch)
    return PeerCredit(
        peer_id=peer,
        flow_microcredits=residual_flow(ledger, holds, peer, me, untrusted).total,
        line_microcredits=line,
        line_left_microcredits=max(0, line - holds.held((peer, ""), epoch)),
        strangers_left_microcredits=max(0, strangers),
        own=peer in policy.own,
        banned=peer in doubts.banned,
        renewed=peer in doubts.renewed,
        withholding=peer in doubts.withholding,
        flow_there_microcredits=residual_flow(ledger, Holds(ledger.horizon_epochs), me, peer, untrusted).total,
        renewed_here=me in doubts.renewed,
    )
