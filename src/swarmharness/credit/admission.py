"""Whether this node serves a request, against which credit, and who comes first; pure, it takes nothing by itself.

The rules are C-10 to C-14 of docs/credit-rules.md. Only this node's own view decides: what others owe each other counts
as far as it flows to this node over work that they really did for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from enum import IntEnum

from swarmharness.credit.holds import STRANGERS, Hold, Holds
from swarmharness.credit.ledger import HORIZON_EPOCHS, Ledger
from swarmharness.identity import PeerId

STRANGER_BUDGET_MICROCREDITS = 600_000_000
"""B: ten core-minutes an hour for all strangers together."""


class Rank(IntEnum):
    """Who is served first; within a rank see `Admitted.order`."""

    OWN = 0
    COVERED = 1
    STRANGER = 2
    WITHHOLDING = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator decided."""

    own: frozenset[PeerId] = frozenset()
    """Peers that are served unmetered."""
    lines: Mapping[PeerId, int] = field(default_factory=dict)
    """Peers that may owe this node so much."""
    stranger_budget_microcredits: int = STRANGER_BUDGET_MICROCREDITS
    horizon_epochs: int = HORIZON_EPOCHS


@dataclass(frozen=True, slots=True)
class Doubts:
    """Peers that are not what they would seem from receipts alone."""

    banned: Set[str] = frozenset()
    """Proved forkers (C-16)."""
    renewed: Set[str] = frozenset()
    """Peers with a new incarnation within the horizon: strangers until it has passed (C-18)."""
    withholding: Set[str] = frozenset()
    """Requesters that have not signed for what they got: served last."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request is served; `holds` are to be recorded before it is, and are not given back (C-12)."""

    rank: Rank
    flow_microcredits: int
    """The residual flow of the requester to this node before this request."""
    holds: tuple[Hold, ...]

    def order(self, arrival: int) -> tuple[int, int, int]:
        """Return the key by which waiting requests are sorted; `arrival` counts requests (C-13)."""
        flow = self.flow_microcredits if self.rank is Rank.COVERED else 0
        return int(self.rank), -flow, arrival


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not served, and why."""

    banned: bool
    price_microcredits: int
    flow_microcredits: int
    line_microcredits: int
    strangers_microcredits: int

    @property
    def missing_microcredits(self) -> int:
        """How much more of anything would have been enough."""
        available = self.flow_microcredits + self.line_microcredits + self.strangers_microcredits
        return max(0, self.price_microcredits - available)

    @property
    def reason(self) -> str:
        """One line for the requester: what is missing, and what would change it."""
        if self.banned:
            return "this key signed two histories; the proof is known here, and no node serves it any more"
        return (
            f"{self.missing_microcredits} of {self.price_microcredits} micro-credits are missing: "
            f"{self.flow_microcredits} by work for this node or its partners, {self.line_microcredits} by a line of "
            f"credit, {self.strangers_microcredits} left this hour for all strangers; work for this node, ask its "
            "operator for a line, or try again in the next hour"
        )


@dataclass(frozen=True, slots=True)
class Flow:
    """What is left from a requester to me: the direct edge, and through each common partner, the most first."""

    direct: int
    through: list[tuple[int, str]]

    @property
    def total(self) -> int:
        """The maximum flow: no two of the paths share an edge."""
        return self.direct + sum(amount for amount, _ in self.through)


def residual_flow(ledger: Ledger, holds: Holds, requester: str, me: str, untrusted: Set[str] = frozenset()) -> Flow:
    """Return what is left on the paths of one or two edges from `requester` to `me` (C-10).

    An edge u → v is the unexpired work that u did for v, less what is held of it. An untrusted key has no edges (C-16,
    C-18).
    """
    if requester in untrusted or requester == me:
        return Flow(0, [])
    held = holds.all_held(ledger.epoch)
    done_for_me = ledger.work_for(me)
    direct = max(0, done_for_me.get(requester, 0) - held.get((requester, me), 0))
    through = []
    for middle, done in ledger.work_of(requester).items():
        done_by_middle = done_for_me.get(middle)
        if done_by_middle and middle not in untrusted:
            left = min(done - held.get((requester, middle), 0), done_by_middle - held.get((middle, me), 0))
            if left > 0:
                through.append((left, middle))
    return Flow(direct, sorted(through, reverse=True))


def decide(
    ledger: Ledger,
    holds: Holds,
    policy: Policy,
    doubts: Doubts,
    *,
    me: PeerId,
    requester: PeerId,
    price_microcredits: int,
) -> Admitted | Refused:
    """Decide about a request of this price (C-11): flow first, then the requester's line, then the strangers."""
    if requester in doubts.banned:
        return Refused(True, price_microcredits, 0, 0, 0)
    last = requester in doubts.withholding
    if requester in policy.own:
        return Admitted(Rank.OWN, 0, ())
    epoch = ledger.epoch
    flow = residual_flow(ledger, holds, requester, me, frozenset(doubts.banned) | doubts.renewed)
    available = flow.total
    line = max(0, policy.lines.get(requester, 0) - holds.held((requester, ""), epoch))
    strangers = max(0, policy.stranger_budget_microcredits - holds.taken_in(STRANGERS, epoch))
    taken = _routed(flow, requester, me, epoch, price_microcredits)
    left = price_microcredits - min(price_microcredits, available)
    for key, amount in (((requester, ""), line), (STRANGERS, strangers)):
        part = min(left, amount)
        taken += [Hold(key, epoch, part)] if part else []
        left -= part
    if left:
        return Refused(False, price_microcredits, available, line, strangers)
    drawn_on_strangers = any(hold.key == STRANGERS for hold in taken)
    rank = Rank.WITHHOLDING if last else Rank.STRANGER if drawn_on_strangers else Rank.COVERED
    return Admitted(rank, available, tuple(taken))


def _routed(flow: Flow, requester: str, me: str, epoch: int, price_microcredits: int) -> list[Hold]:
    part = min(price_microcredits, flow.direct)
    holds = [Hold((requester, me), epoch, part)] if part else []
    left = price_microcredits - part
    for amount, middle in flow.through:
        if not left:
            break
        part = min(left, amount)
        holds += [Hold((requester, middle), epoch, part), Hold((middle, me), epoch, part)]
        left -= part
    return holds
