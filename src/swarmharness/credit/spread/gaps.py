"""Chains of which a later half came before an earlier one: whom to ask for what lies between, and when; pure.

Honest chains have short-lived gaps all the time, since parallel settlements finish in any order, and lasting ones
where somebody withheld a half. So a gap is asked for only if it is still there after a while, in which everything that
gathers for gossip has left, and seldom (C-17).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from swarmharness.credit.receipt import Receipt
from swarmharness.identity import PeerId

GAPS_MAX = 256
PATIENCE_US = 5_000_000
ASKED_EVERY_US = 60_000_000

Place = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Gap:
    """What precedes `place` is not known here; `peer` sent what is at the place."""

    peer: PeerId
    place: Place
    due_us: int


def places_to_check(receipts: Iterable[Receipt], signers: frozenset[str]) -> list[Place]:
    """Return the places in chains of these signers that have a predecessor."""
    found: list[Place] = []
    for receipt in receipts:
        for half in (receipt.requester_half, receipt.worker_half):
            content = half.content
            if content.number > 0 and content.signer in signers:
                found.append((content.signer, content.incarnation, content.number))
    return found


class Gaps:
    """The gaps that are worth asking for; one of each chain, and no more than `GAPS_MAX`."""

    def __init__(self, patience_us: int = PATIENCE_US) -> None:
        self._patience_us = patience_us
        self._open: OrderedDict[tuple[str, int], Gap] = OrderedDict()
        self._asked_us: OrderedDict[tuple[str, int], int] = OrderedDict()

    def note(self, peer: PeerId, place: Place, now_us: int) -> None:
        """Something came whose predecessor is not known."""
        chain = place[:2]
        if chain in self._open or len(self._open) >= GAPS_MAX:
            return
        due_us = max(now_us + self._patience_us, self._asked_us.get(chain, -ASKED_EVERY_US) + ASKED_EVERY_US)
        self._open[chain] = Gap(peer, place, due_us)

    def take_due(self, now_us: int) -> list[Gap]:
        """Return the gaps to look at again, and to ask for if they are still there."""
        due = [gap for gap in self._open.values() if gap.due_us <= now_us]
        for gap in due:
            chain = gap.place[:2]
            del self._open[chain]
            self._asked_us[chain] = now_us
            self._asked_us.move_to_end(chain)
            if len(self._asked_us) > GAPS_MAX:
                self._asked_us.popitem(last=False)
        return due

    def next_due_us(self) -> int | None:
        """Return when the next one is due, or None."""
        return min((gap.due_us for gap in self._open.values()), default=None)
