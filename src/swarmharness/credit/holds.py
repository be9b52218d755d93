"""What this node has promised against each line and each edge, melting like the credit that it uses; pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from swarmharness.credit.ledger import HORIZON_EPOCHS

STRANGERS = ("", "")
"""The key of the counter that all strangers share."""

Key = tuple[str, str]
"""An edge (worker, requester) of the graph of work, a line (peer, ""), or STRANGERS."""


@dataclass(frozen=True, slots=True)
class Hold:
    """So many micro-credits of one key were taken in one epoch."""

    key: Key
    epoch: int
    microcredits: int


@dataclass(slots=True)
class Holds:
    """All holds within the horizon, one sum for each key and epoch."""

    horizon_epochs: int = HORIZON_EPOCHS
    _sums: defaultdict[Key, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    _now: dict[Key, int] = field(default_factory=dict)
    _now_epoch: int = -1

    def add(self, holds: Iterable[Hold]) -> None:
        """Take holds into account."""
        for hold in holds:
            epochs = self._sums[hold.key]
            epochs[hold.epoch] = epochs.get(hold.epoch, 0) + hold.microcredits
            self._now[hold.key] = self._melted(hold.key, self._now_epoch)

    def held(self, key: Key, epoch: int) -> int:
        """Return what is still held of an edge or a line: it melts as a receipt does, but is rounded up (C-12).

        Rounding up, and per epoch, so that many tiny requests return nothing early. A hold from the future, after the
        clock was set back, is held in full.
        """
        return self.all_held(epoch).get(key, 0)

    def all_held(self, epoch: int) -> Mapping[Key, int]:
        """Return the same for every key of which anything is held; worked out once an epoch."""
        if epoch != self._now_epoch:
            self._now_epoch = epoch
            self._now = {key: self._melted(key, epoch) for key in self._sums}
        return self._now

    def _melted(self, key: Key, epoch: int) -> int:
        total = 0
        for then, amount in self._sums.get(key, {}).items():
            age = max(0, epoch - then)
            if age < self.horizon_epochs:
                total -= -amount * (self.horizon_epochs - age) // self.horizon_epochs
        return total

    def taken_in(self, key: Key, epoch: int) -> int:
        """Return what was taken of a key in this one epoch."""
        return self._sums.get(key, {}).get(epoch, 0)

    def prune(self, epoch: int) -> None:
        """Forget what no longer holds anything."""
        for key, epochs in list(self._sums.items()):
            kept = {then: amount for then, amount in epochs.items() if epoch - then < self.horizon_epochs}
            if kept:
                self._sums[key] = kept
            else:
                del self._sums[key]
                self._now.pop(key, None)

    def __iter__(self) -> Iterator[Hold]:
        for key, epochs in self._sums.items():
            for epoch, amount in epochs.items():
                yield Hold(key, epoch, amount)
