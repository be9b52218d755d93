"""When a node opens a new incarnation of its chain, and what others think of it then; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from swarmharness.credit.chain import Floor, Place, highest, opening, place_after, place_of
from swarmharness.credit.ledger import HORIZON_EPOCHS
from swarmharness.credit.receipt import Half, half_problem


@dataclass(frozen=True, slots=True)
class Sighting:
    """A receipt of this epoch was signed under this incarnation of a key."""

    signer: str
    incarnation: int
    epoch: int


def place_to_sign(
    own_head: Half | None,
    remembered: Iterable[Half],
    unix_us: int,
    *,
    doubtful: bool = False,
    floor: Floor | None = None,
) -> Place:
    """Return where this node signs next, after a start at which partners told which of its halves they remember (C-17).

    If any of them remembers more than the own store holds, or something else at its place, the store has lost its tail
    or comes from a backup: the next incarnation is opened. So it is if the store is `doubtful`, for example rebuilt.
    What nobody remembers may still be lost, and be known to somebody who was not asked; numbers below the `floor` are
    therefore not signed. Every half in `remembered` must verify; use `own_halves`.
    """
    heads = [half for half in (highest(remembered), own_head) if half is not None]
    best = highest(heads)
    if best is None:
        return opening(0, unix_us)
    if doubtful or own_head is None or _knows_more(best, own_head) or any(_contradicts(h, own_head) for h in heads):
        return opening(best.content.incarnation, unix_us)
    place = place_after(own_head)
    if floor is not None and floor.incarnation == place.incarnation and floor.number > place.number:
        return replace(place, number=floor.number)
    return place


def own_halves(signer: str, claimed: Iterable[Half]) -> list[Half]:
    """Return those halves that `signer` really signed: partners may claim anything."""
    return [half for half in claimed if half_problem(half, half.content.body_digest, signer) is None]


def renewed_peers(sightings: Iterable[Sighting], epoch: int, *, horizon_epochs: int = HORIZON_EPOCHS) -> frozenset[str]:
    """Return the peers that opened a further incarnation within the horizon (C-18); they are strangers until it passed.

    Only sightings within the horizon count, so forgetting older ones changes nothing. The order does not matter.
    """
    lowest: dict[str, int] = {}
    several: set[str] = set()
    for sighting in sightings:
        if not 0 <= epoch - sighting.epoch < horizon_epochs:
            continue
        known = lowest.setdefault(sighting.signer, sighting.incarnation)
        if known != sighting.incarnation:
            several.add(sighting.signer)
    return frozenset(several)


def _knows_more(half: Half, own: Half) -> bool:
    return place_of(half) > place_of(own)


def _contradicts(half: Half, own: Half) -> bool:
    return place_of(half) == place_of(own) and half.content != own.content
