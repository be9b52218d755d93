"""Keeps the addresses of nodes that answered, for the next start; it dials nobody."""

from __future__ import annotations

from collections.abc import Iterable

from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress
from swarmharness.registry.entry import Entry
from swarmharness.registry.joining import Joining
from swarmharness.registry.stores import PEERS_MAX, PeerStore

_SUBJECT = "remembered peers"


class RememberedPeers:
    """What is wrong with the store is reported as a problem of joining, and never raised."""

    def __init__(self, store: PeerStore, joining: Joining) -> None:
        self._store = store
        self._joining = joining
        self._saved: tuple[PeerAddress, ...] = ()

    async def load(self) -> tuple[PeerAddress, ...]:
        """Return what earlier runs wrote down."""
        loaded = await self._store.load()
        if loaded.problem:
            self._joining.report(_SUBJECT, loaded.problem)
        self._saved = loaded.peers
        return loaded.peers

    async def save(self, entries: Iterable[Entry]) -> None:
        """Write down who answers, the latest first, then whom earlier runs knew, if that is news."""
        usable = (entry for entry in entries if entry.usable and entry.advert.addresses)
        seen = [
            PeerAddress(PeerId(entry.advert.peer_id), entry.advert.addresses)
            for entry in sorted(usable, key=lambda entry: -entry.heard_us)
        ]
        present = {peer.peer_id for peer in seen}
        peers = (*seen, *(peer for peer in self._saved if peer.peer_id not in present))[:PEERS_MAX]
        if frozenset(peers) == frozenset(self._saved):
            return
        try:
            await self._store.save(peers)
        except OSError as error:
            self._joining.report(_SUBJECT, f"they cannot be saved: {error.strerror or error}")
        else:
            self._saved = peers
            self._joining.solved(_SUBJECT)
