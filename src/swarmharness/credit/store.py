"""The port `ReceiptStore` and its twin in memory; it never verifies a signature, callers do that before they commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from swarmharness.credit.accounts import Balance, Entry, balance_of
from swarmharness.credit.chain import highest
from swarmharness.credit.receipt import Half, body_digest
from swarmharness.identity import PeerId


class ReceiptStore(Protocol):
    """Keeps entries for good. All errors are SwarmErrors; UnavailableError means that nothing was changed."""

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Keep these entries, all or none; they are on disk when this returns.

        An entry that is already known gains the halves that it lacked. A second half for a known place of a chain
        is kept beside the first, as evidence.
        """

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


class MemoryReceiptStore:
    """Keeps entries in memory without threads: for simulation, and for nodes that only submit once."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._halves: dict[tuple[str, int, int], list[Half]] = {}

    async def commit(self, entries: Sequence[Entry]) -> None:
        """See `ReceiptStore`."""
        for entry in entries:
            digest = body_digest(entry.body)
            known = self._entries.setdefault(digest, Entry(entry.body, None, None, entry.stored_us))
            self._entries[digest] = Entry(
                known.body,
                _earlier(known.requester_half, entry.requester_half),
                _earlier(known.worker_half, entry.worker_half),
                known.stored_us,
            )
            for half in filter(None, (entry.requester_half, entry.worker_half)):
                content = half.content
                place = self._halves.setdefault((content.signer, content.incarnation, content.number), [])
                if all(other.content != content for other in place):
                    place.append(half)

    async def head(self, signer: PeerId) -> Half | None:
        """See `ReceiptStore`."""
        return highest(place[0] for (peer, _, _), place in self._halves.items() if peer == signer)

    async def entry(self, digest: bytes) -> Entry | None:
        """See `ReceiptStore`."""
        return self._entries.get(digest)

    async def unfinished(self, requester: PeerId, *, stored_after_us: int, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        found = [
            entry
            for entry in reversed(self._entries.values())
            if entry.body.requester == requester and entry.worker_half is None and entry.stored_us > stored_after_us
        ]
        return [entry for entry in found if entry.requester_half is not None][:limit]

    async def balance(self, peer_id: PeerId) -> Balance:
        """See `ReceiptStore`."""
        own = [entry for entry in self._entries.values() if peer_id in (entry.body.requester, entry.body.worker)]
        bodies = [entry.body for entry in own if entry.receipt]
        flows = [(body.requester, body.worker, body.share_microcredits, 1) for body in bodies]
        return balance_of(peer_id, flows, len(own) - len(flows))

    async def history(self, peer_id: PeerId, *, limit: int) -> list[Entry]:
        """See `ReceiptStore`."""
        own = (e for e in reversed(self._entries.values()) if peer_id in (e.body.requester, e.body.worker))
        return [entry for entry, _ in zip(own, range(limit), strict=False)]


def _earlier(one: Half | None, other: Half | None) -> Half | None:
    halves = [half for half in (one, other) if half is not None]
    return min(halves, key=lambda half: (half.content.incarnation, half.content.number), default=None)
