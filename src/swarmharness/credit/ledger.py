"""Mutual credit with linear expiry: who did how much unexpired work for whom; pure, it never reads a clock or a store.

The rules are C-4 to C-9 of docs/credit-rules.md. The state is a function of the set of claims and of the epoch: neither
the order of arrival, nor repetition, nor pruning changes it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from swarmharness.credit.receipt import ReceiptBody, body_digest
from swarmharness.identity import PeerId

HORIZON_EPOCHS = 720
"""A: after so many hours a receipt counts nothing, and may be forgotten."""
_NOBODY: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receipt that counts (S-2) says about money."""

    digest: bytes
    requester: str
    worker: str
    epoch: int
    microcredits: int


class Outcome(Enum):
    """What became of a claim that was added."""

    COUNTED = "it counts"
    NOT_YET_DUE = "its epoch lies in the future: it counts nothing until then"
    EXPIRED = "it is older than the horizon: it counts nothing any more"
    KNOWN = "it was known"


@lru_cache(maxsize=4096)
def claim_of(body: ReceiptBody) -> Claim:
    """Return the claim of a receipt's body."""
    return Claim(body_digest(body), body.requester, body.worker, body.epoch, body.share_microcredits)


def unexpired(microcredits: int, age_epochs: int, horizon_epochs: int = HORIZON_EPOCHS) -> int:
    """Return what an amount still counts: x·(A - a)//A from its own epoch on, 0 before that and after A (C-7)."""
    if not 0 <= age_epochs < horizon_epochs:
        return 0
    return microcredits * (horizon_epochs - age_epochs) // horizon_epochs


class Ledger:
    """The claims within the horizon, added up per pair of peers as of one epoch."""

    def __init__(self, epoch: int, *, horizon_epochs: int = HORIZON_EPOCHS) -> None:
        self.epoch = epoch
        self.horizon_epochs = horizon_epochs
        self._claims: dict[bytes, Claim] = {}
        self._by_epoch: defaultdict[int, list[Claim]] = defaultdict(list)
        self._work: defaultdict[str, dict[str, int]] = defaultdict(dict)
        self._work_for: dict[str, dict[str, int]] = {}
        """The same by requester, for those who were asked about: that is this node alone (C-10)."""
        self._standing: defaultdict[str, int] = defaultdict(int)

    def __len__(self) -> int:
        return len(self._claims)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._claims

    def add(self, claim: Claim) -> Outcome:
        """Take a claim into account, once (C-4); the caller has verified its receipt."""
        if claim.digest in self._claims:
            return Outcome.KNOWN
        age = self.epoch - claim.epoch
        if age >= self.horizon_epochs:
            return Outcome.EXPIRED
        self._claims[claim.digest] = claim
        self._by_epoch[claim.epoch].append(claim)
        if age < 0:
            return Outcome.NOT_YET_DUE
        self._count(claim, age)
        return Outcome.COUNTED

    def add_all(self, claims: Iterable[Claim]) -> None:
        """Add many claims."""
        for claim in claims:
            self.add(claim)

    def advance(self, epoch: int) -> None:
        """Let time pass: everything melts (C-7), what is older than the horizon is forgotten (C-8).

        An epoch before the current one changes nothing, since a clock that is set back must not revive old credit.
        """
        if epoch <= self.epoch:
            return
        self.epoch = epoch
        for old in [known for known in self._by_epoch if epoch - known >= self.horizon_epochs]:
            for claim in self._by_epoch.pop(old):
                del self._claims[claim.digest]
        self._work.clear()
        self._work_for.clear()
        self._standing.clear()
        for known, claims in self._by_epoch.items():
            age = epoch - known
            if age >= 0:
                for claim in claims:
                    self._count(claim, age)

    def work(self, worker: str, requester: str) -> int:
        """Return the unexpired micro-credits of work that `worker` did for `requester`: the edge worker → requester."""
        return self._work.get(worker, _NOBODY).get(requester, 0)

    def work_of(self, worker: str) -> Mapping[str, int]:
        """Return the same for everyone that `worker` worked for."""
        return MappingProxyType(self._work.get(worker, {}))

    def work_for(self, requester: str) -> Mapping[str, int]:
        """Return the same for everyone who worked for `requester`."""
        known = self._work_for.get(requester)
        if known is None:
            known = {worker: done[requester] for worker, done in self._work.items() if requester in done}
            self._work_for[requester] = known
        return MappingProxyType(known)

    def standing(self, peer: str) -> int:
        """Return what `peer` earned less what it spent, unexpired; over all peers this adds up to zero (C-5)."""
        return self._standing.get(peer, 0)

    def standings(self) -> dict[PeerId, int]:
        """Return every peer's standing, the highest first; it is shown, and decides nothing (C-14)."""
        ranked = sorted(self._standing.items(), key=lambda item: (-item[1], item[0]))
        return {PeerId(peer): standing for peer, standing in ranked}

    def earned(self, peer: str, *, epochs_ahead: int = 0) -> int:
        """Return what `peer` earned and is unexpired, now or so many epochs from now if nothing is added."""
        return self._sum(epochs_ahead, worker=peer)

    def spent(self, peer: str, *, epochs_ahead: int = 0) -> int:
        """Return what `peer` spent and is unexpired, now or so many epochs from now."""
        return self._sum(epochs_ahead, requester=peer)

    def claims(self) -> Iterable[Claim]:
        """Return the claims that are not forgotten."""
        return self._claims.values()

    def _sum(self, epochs_ahead: int, *, worker: str | None = None, requester: str | None = None) -> int:
        then = self.epoch + epochs_ahead
        return sum(
            unexpired(claim.microcredits, then - claim.epoch, self.horizon_epochs)
            for claim in self._claims.values()
            if claim.epoch <= self.epoch and (claim.worker == worker or claim.requester == requester)
        )

    def _count(self, claim: Claim, age: int) -> None:
        worker, requester = claim.worker, claim.requester
        amount = claim.microcredits * (self.horizon_epochs - age) // self.horizon_epochs
        done = self._work[worker]
        done[requester] = done.get(requester, 0) + amount
        if requester in self._work_for:
            self._work_for[requester][worker] = done[requester]
        self._standing[worker] += amount
        self._standing[requester] -= amount
