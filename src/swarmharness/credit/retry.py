"""When an unanswered settlement is tried again; pure, it never sleeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

from swarmharness.credit.receipt import Half, ReceiptBody
from swarmharness.identity import PeerId

RETRY_DELAYS_US = tuple(seconds * 1_000_000 for seconds in (1, 5, 30, 120, 600, 1_800, 3_600))
"""After these it is tried again only when its worker connects, or when this node restarts."""
WAITING_MAX = 16_384
_NEVER_US = 2**62


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
    """By body digest: the settlement, the tries so far, when it is due."""
    _due: list[tuple[int, bytes]] = field(default_factory=list)
    """A heap; its elements that disagree with `_waiting` are left-overs."""

    def postpone(self, settlement: Settlement, *, attempts: int, now_us: int, jitter_us: int) -> None:
        """Plan the try after `attempts` failed ones."""
        delay_us = 0 if attempts == 0 else RETRY_DELAYS_US[attempts - 1] if attempts <= len(RETRY_DELAYS_US) else None
        self._plan(settlement, attempts, _NEVER_US if delay_us is None else now_us + delay_us + jitter_us)
        if len(self._waiting) > self.most:
            del self._waiting[next(iter(self._waiting))]

    def hasten(self, worker: PeerId, *, now_us: int) -> bool:
        """Make everything that waits for this worker due now: it has just connected. Tell whether that is anything."""
        found = False
        for settlement, attempts, due_us in list(self._waiting.values()):
            if settlement.body.worker == worker and due_us > now_us:
                self._plan(settlement, attempts, now_us)
                found = True
        return found

    def take_due(self, *, now_us: int, limit: int) -> list[tuple[Settlement, int]]:
        """Return and forget up to `limit` settlements that are due, each with the number of tries so far."""
        taken: list[tuple[Settlement, int]] = []
        while len(taken) < limit:
            due_us = self.next_due_us()
            if due_us is None or due_us > now_us:
                break
            settlement, attempts, _ = self._waiting.pop(heappop(self._due)[1])
            taken.append((settlement, attempts))
        return taken

    def next_due_us(self) -> int | None:
        """Return when the next one is due, or None if nothing is planned."""
        while self._due:
            due_us, digest = self._due[0]
            waiting = self._waiting.get(digest)
            if waiting is not None and waiting[2] == due_us:
                return due_us
            heappop(self._due)
        return None

    def __len__(self) -> int:
        return len(self._waiting)

    def _plan(self, settlement: Settlement, attempts: int, due_us: int) -> None:
        digest = settlement.half.content.body_digest
        self._waiting[digest] = (settlement, attempts, due_us)
        if due_us < _NEVER_US:
            heappush(self._due, (due_us, digest))
