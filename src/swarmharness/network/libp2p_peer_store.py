"""The peer book as libp2p's peer store; it decides nothing itself, and keeps the node's own key apart from it.

libp2p's own store keeps 1,000 peers and evicts those without addresses first, among them the node itself, whose key
it then misses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from libp2p.abc import IPeerStore
from libp2p.crypto.keys import KeyPair, PrivateKey, PublicKey
from libp2p.peer.envelope import Envelope
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from swarmharness.network.peer_book import ADDRESSES_MAX, HEARD_S, PeerBook

ADDRESS_BYTES_MAX = 256


class BookedPeerStore(IPeerStore):  # type: ignore[misc]
    """Keys, protocols and addresses of peers. Metadata and latencies are not kept."""

    def __init__(
        self,
        own_id: ID,
        own_keys: KeyPair,
        *,
        peers_max: int,
        pinned: Iterable[ID] = (),
        connected: Callable[[ID], bool] = lambda peer_id: False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own_id = own_id
        self._own_keys = own_keys
        self._own_record: Envelope | None = None
        others = (peer_id for peer_id in pinned if peer_id != own_id)
        self._book: PeerBook[ID, Multiaddr] = PeerBook(peers_max=peers_max, pinned=others, connected=connected)
        self._now_s = now_s

    def __len__(self) -> int:
        return len(self._book)

    # -- for this node's own code -----------------------------------------------------------------------------------

    def remember(self, peer_id: ID, addresses: Iterable[Multiaddr]) -> None:
        """Add addresses, newest first; they are tried before those that libp2p hears."""
        if peer_id != self._own_id:
            self._book.remember(peer_id, _fitting(addresses), self._now_s())

    def left(self, peer_id: ID) -> None:
        """Note that the last connection to a peer ended."""
        self._book.left(peer_id, self._now_s())

    # -- keys -------------------------------------------------------------------------------------------------------

    def pubkey(self, peer_id: ID) -> PublicKey:
        """See `IPeerStore`."""
        if peer_id == self._own_id:
            return self._own_keys.public_key
        entry = self._book.get(peer_id)
        if entry is None or entry.key is None:
            raise PeerStoreError("the public key of this peer is not known")
        key: PublicKey = entry.key
        return key

    def privkey(self, peer_id: ID) -> PrivateKey:
        """See `IPeerStore`: only the node's own is ever kept."""
        if peer_id != self._own_id:
            raise PeerStoreError("this is not the node's own id")
        return self._own_keys.private_key

    def add_pubkey(self, peer_id: ID, pubkey: PublicKey) -> None:
        """See `IPeerStore`."""
        if ID.from_pubkey(pubkey) != peer_id:
            raise PeerStoreError("the key is another peer's")
        if peer_id != self._own_id:
            self._book.entry(peer_id).key = pubkey

    def add_privkey(self, peer_id: ID, privkey: PrivateKey) -> None:
        """See `IPeerStore`: no other node's is taken."""
        if peer_id != self._own_id:
            raise PeerStoreError("no private key but the node's own is kept")

    def add_key_pair(self, peer_id: ID, key_pair: KeyPair) -> None:
        """See `IPeerStore`."""
        self.add_pubkey(peer_id, key_pair.public_key)
        self.add_privkey(peer_id, key_pair.private_key)

    def peer_with_keys(self) -> list[ID]:
        """See `IPeerStore`."""
        known = [peer_id for peer_id in self._book if (entry := self._book.get(peer_id)) and entry.key is not None]
        return [self._own_id, *known]

    def clear_keydata(self, peer_id: ID) -> None:
        """See `IPeerStore`; the node's own key stays."""
        entry = self._book.get(peer_id)
        if entry is not None:
            entry.key = None

    # -- addresses --------------------------------------------------------------------------------------------------

    def add_addr(self, peer_id: ID, addr: Multiaddr, ttl: int = 0) -> None:
        """See `IPeerStore`."""
        self.add_addrs(peer_id, [addr], ttl)

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: int = 0) -> None:
        """See `IPeerStore`: whatever `ttl` says, no longer than `HEARD_S`."""
        if peer_id != self._own_id:
            self._book.hear(peer_id, _fitting(addrs), self._now_s(), ttl if ttl > 0 else HEARD_S)

    def addrs(self, peer_id: ID) -> list[Multiaddr]:
        """Return the addresses that have not expired, the best first; raises PeerStoreError for a stranger."""
        if self._book.get(peer_id) is None:
            raise PeerStoreError("the peer is not known")
        return self._book.addresses(peer_id, self._now_s())

    def clear_addrs(self, peer_id: ID) -> None:
        """See `IPeerStore`: forgets what was heard; what this node was told to remember stays."""
        entry = self._book.get(peer_id)
        if entry is not None:
            entry.heard = {}

    def peers_with_addrs(self) -> list[ID]:
        """See `IPeerStore`."""
        return [peer_id for peer_id in self.peer_ids() if peer_id != self._own_id and self.addrs(peer_id)]

    # -- signed records ---------------------------------------------------------------------------------------------

    def get_local_record(self) -> Envelope | None:
        """See `IPeerStore`."""
        return self._own_record

    def set_local_record(self, envelope: Envelope) -> None:
        """See `IPeerStore`."""
        self._own_record = envelope

    def consume_peer_record(self, envelope: Envelope, ttl: int) -> bool:
        """See `IPeerStore`: takes the addresses that a peer signed, unless it signed newer ones."""
        try:
            record = envelope.record()
            signer = ID.from_pubkey(envelope.public_key)
        except Exception:  # a stranger wrote it, and libp2p raises many kinds
            return False
        if signer != record.peer_id:
            return False
        if signer == self._own_id:
            return True
        entry = self._book.entry(signer)
        if entry.record is not None and entry.record.record().seq > record.seq:
            return False
        entry.record, entry.heard = envelope, {}
        self.add_addrs(signer, record.addrs[:ADDRESSES_MAX], ttl)
        return True

    def consume_peer_records(self, envelopes: list[Envelope], ttl: int) -> list[bool]:
        """Take several."""
        return [self.consume_peer_record(envelope, ttl) for envelope in envelopes]

    def get_peer_record(self, peer_id: ID) -> Envelope | None:
        """See `IPeerStore`."""
        self.maybe_delete_peer_record(peer_id)
        entry = self._book.get(peer_id)
        return None if entry is None else entry.record

    def maybe_delete_peer_record(self, peer_id: ID) -> None:
        """See `IPeerStore`: a record goes with the addresses that it holds."""
        entry = self._book.get(peer_id)
        if entry is not None and entry.record is not None and not self.addrs(peer_id):
            entry.record = None

    # -- protocols --------------------------------------------------------------------------------------------------

    def get_protocols(self, peer_id: ID) -> list[str]:
        """See `IPeerStore`."""
        entry = self._book.get(peer_id)
        if entry is None:
            raise PeerStoreError("the peer is not known")
        return list(entry.protocols)

    def add_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        if peer_id != self._own_id:
            self._book.add_protocols(peer_id, protocols)

    def set_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        self.clear_protocol_data(peer_id)
        self.add_protocols(peer_id, protocols)

    def remove_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        entry = self._book.get(peer_id)
        if entry is not None:
            entry.protocols = tuple(name for name in entry.protocols if name not in protocols)

    def supports_protocols(self, peer_id: ID, protocols: Sequence[str]) -> list[str]:
        """See `IPeerStore`."""
        entry = self._book.get(peer_id)
        return [] if entry is None else [name for name in protocols if name in entry.protocols]

    def first_supported_protocol(self, peer_id: ID, protocols: Sequence[str]) -> str:
        """See `IPeerStore`."""
        return next(iter(self.supports_protocols(peer_id, protocols)), "")

    def clear_protocol_data(self, peer_id: ID) -> None:
        """See `IPeerStore`."""
        entry = self._book.get(peer_id)
        if entry is not None:
            entry.protocols = ()

    # -- all of it --------------------------------------------------------------------------------------------------

    def peer_info(self, peer_id: ID) -> PeerInfo:
        """See `IPeerStore`."""
        return PeerInfo(peer_id, self.addrs(peer_id))

    def peer_ids(self) -> list[ID]:
        """See `IPeerStore`."""
        return [self._own_id, *self._book]

    def has_peer(self, peer_id: ID) -> bool:
        """See `IPeerStore`."""
        return peer_id == self._own_id or self._book.get(peer_id) is not None

    def clear_peerdata(self, peer_id: ID) -> None:
        """See `IPeerStore`; a pinned peer stays, with nothing known of it."""
        self._book.forget(peer_id)

    # -- what is not kept -------------------------------------------------------------------------------------------

    def get(self, peer_id: ID, key: str) -> Any:
        """Raise PeerStoreError: no metadata is kept."""
        raise PeerStoreError(f"no {key} is kept of peers")

    def put(self, peer_id: ID, key: str, val: Any) -> None:
        """Keep nothing."""

    def clear_metadata(self, peer_id: ID) -> None:
        """There is none."""

    def record_latency(self, peer_id: ID, RTT: float) -> None:  # noqa: N803 - libp2p's name
        """Keep nothing: channels measure their own."""

    def latency_EWMA(self, peer_id: ID) -> float:  # noqa: N802 - libp2p's name
        """Return 0: unknown."""
        return 0.0

    def clear_metrics(self, peer_id: ID) -> None:
        """There are none."""

    async def start_cleanup_task(self, cleanup_interval: int = 3600) -> None:
        """Return at once: what expired goes when it is looked at, the rest by its number."""


def _fitting(addresses: Iterable[Multiaddr]) -> list[Multiaddr]:
    """Return the first addresses, without those that nobody needs to be so long."""
    fitting: list[Multiaddr] = []
    for address in addresses:
        if len(fitting) == ADDRESSES_MAX:
            break
        with suppress(ValueError):  # the root of every parsing error of the library
            if len(address.to_bytes()) <= ADDRESS_BYTES_MAX:
                fitting.append(address)
    return fitting


def parsed(addresses: Collection[str]) -> list[Multiaddr]:
    """Return the addresses that are multiaddrs; what a peer says of itself may be anything."""
    found = []
    for address in list(addresses)[:ADDRESSES_MAX]:
        with suppress(ValueError):
            found.append(Multiaddr(address))
    return found
