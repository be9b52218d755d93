"""When an unanswered settlement is tried again; pure, it never sleeps."""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.credit.receipt import Half, ReceiptBody
from swarmharness.identity import PeerId

RETRY_DELAYS_US = tuple(seconds * 1_000_000 for seconds in (1, 5, 30, 120, 600, 1_800, 3_600))
"""After these the entry stays on disk, and is tried again when its worker connects or the node restarts."""
WAITING_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Settlement:
    """A body that this node has signed as its requester."""

    body: ReceiptBody
    half: Half


@dataclass(slots=True)
class RetrySchedule:
    """The settlements that wait for another try; bounded, the oldest is forgotten (not lost: it is on disk)."""

    most: int = WAITING_MAX
    _waiting: dict[bytes, tuple[Settlement, int, int]] = field(default_factory=dict)

    def postpone(self, settlement: Settlement, *, attempts: int, now_us: int, jitter_us: int) -> bool:
        """Plan the try after `attempts` failed ones; False, and nothing planned, if there were enough."""
        if attempts > len(RETRY_DELAYS_US):
            return False
        delay_us = RETRY_DELAYS_US[attempts - 1] if attempts else 0
        self._waiting[settlement.half.content.body_digest] = (settlement, attempts, now_us + delay_us + jitter_us)
        if len(self._waiting) > self.most:
            del self._waiting[next(iter(self._waiting))]
        return True

    def hasten(self, worker: PeerId, *, now_us: int) -> None:
        """Make everything that waits for this worker due now: it has just connected."""
        for digest, (settlement, attempts, _) in list(self._waiting.items()):
            if settlement.body.worker == worker:
                self._waiting[digest] = (settlement, attempts, now_us)

    def take_due(self, *, now_us: int, limit: int) -> list[tuple[Settlement, int]]:
        """Return and forget up to `limit` settlements that are due, each with the number of tries so far."""
        due = [digest for digest, (_, _, due_us) in self._waiting.items() if due_us <= now_us][:limit]
        return [self._waiting.pop(digest)[:2] for digest in due]

    def next_due_us(self) -> int | None:
        """Return when the next one is due, or None if nothing waits."""
        return min((due_us for _, _, due_us in self._waiting.values()), default=None)

    def __len__(self) -> int:
        return len(self._waiting)
