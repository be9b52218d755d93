"""What `credit balance` and `credit history` report, as plain data; pure, it never reads a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from swarmharness.credit.receipt import Half, Receipt, ReceiptBody, body_digest
from swarmharness.identity import PeerId


@dataclass(frozen=True, slots=True)
class Entry:
    """A body with the halves that are known of it; `stored_us` is when this node first kept it (Unix time)."""

    body: ReceiptBody
    requester_half: Half | None
    worker_half: Half | None
    stored_us: int

    @property
    def complete(self) -> bool:
        """Whether both halves are there (S-2)."""
        return self.requester_half is not None and self.worker_half is not None

    @property
    def receipt(self) -> Receipt | None:
        """The receipt, once both halves are there (S-2)."""
        if self.requester_half is None or self.worker_half is None:
            return None
        return Receipt(self.body, self.requester_half, self.worker_half)


@dataclass(frozen=True, slots=True)
class PeerBalance:
    """What passed between this node and one peer, in receipts that count."""

    peer_id: PeerId
    earned_microcredits: int
    spent_microcredits: int
    receipts: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What this node earned and spent in receipts that count, and how many entries lack their other half."""

    peer_id: PeerId
    by_peer: tuple[PeerBalance, ...]
    """The peers with the most passed first."""
    half_entries: int

    @property
    def earned_microcredits(self) -> int:
        """All that others owe this node."""
        return sum(peer.earned_microcredits for peer in self.by_peer)

    @property
    def spent_microcredits(self) -> int:
        """All that this node owes others."""
        return sum(peer.spent_microcredits for peer in self.by_peer)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer of the control method `credit.balance`; amounts are integer micro-credits."""
        return {
            "peer_id": self.peer_id,
            "earned_microcredits": self.earned_microcredits,
            "spent_microcredits": self.spent_microcredits,
            "net_microcredits": self.earned_microcredits - self.spent_microcredits,
            "receipts": sum(peer.receipts for peer in self.by_peer),
            "half_entries": self.half_entries,
            "by_peer": [
                {
                    "peer_id": peer.peer_id,
                    "earned_microcredits": peer.earned_microcredits,
                    "spent_microcredits": peer.spent_microcredits,
                    "receipts": peer.receipts,
                }
                for peer in self.by_peer
            ],
        }


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One entry as its owner sees it."""

    entry: Entry
    role: Literal["requester", "worker"]

    def as_dict(self) -> dict[str, Any]:
        """Return one element of the answer of `credit.history`; digests are hex, times are Unix microseconds."""
        body = self.entry.body
        return {
            "receipt": body_digest(body).hex(),
            "state": "receipt" if self.entry.complete else "half-entry",
            "role": self.role,
            "peer_id": body.requester if self.role == "worker" else body.worker,
            "skill": body.skill,
            "items": body.items,
            "tasks": [task.hex() for task in body.tasks],
            "epoch": body.epoch,
            "stored_us": self.entry.stored_us,
            "price_microcredits": body.price_microcredits,
            "share_microcredits": body.share_microcredits,
            "service_us": body.service_us,
        }


def balance_of(peer_id: PeerId, flows: Iterable[tuple[str, str, int, int]], half_entries: int) -> Balance:
    """Return the balance of `peer_id` from (requester, worker, micro-credits, receipts) per pair that includes it."""
    earned: dict[str, int] = {}
    spent: dict[str, int] = {}
    receipts: dict[str, int] = {}
    for requester, worker, microcredits, count in flows:
        side, other = (earned, requester) if worker == peer_id else (spent, worker)
        side[other] = side.get(other, 0) + microcredits
        receipts[other] = receipts.get(other, 0) + count
    peers = sorted(receipts, key=lambda peer: (-earned.get(peer, 0) - spent.get(peer, 0), peer))
    by_peer = tuple(
        PeerBalance(PeerId(peer), earned.get(peer, 0), spent.get(peer, 0), receipts[peer]) for peer in peers
    )
    return Balance(peer_id, by_peer, half_entries)


def history_of(peer_id: PeerId, entries: Iterable[Entry]) -> tuple[HistoryEntry, ...]:
    """Return the entries as `peer_id`, one of the parties of each, sees them."""
    return tuple(HistoryEntry(entry, "worker" if entry.body.worker == peer_id else "requester") for entry in entries)


def history_answer(entries: Iterable[HistoryEntry]) -> dict[str, Any]:
    """Return the answer of the control method `credit.history` (its parameter is `limit`)."""
    return {"entries": [entry.as_dict() for entry in entries]}
