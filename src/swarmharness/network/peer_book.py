"""What a node remembers of peers' keys, protocols and addresses, for libp2p and for its own dials; it dials nobody.

libp2p's own store keeps 1,000 peers and evicts those without addresses first, among them the node itself, whose key
it then misses. Here the node's own entry lies apart, and nobody can push out a peer that is configured or connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from libp2p.abc import IPeerStore
from libp2p.crypto.keys import KeyPair, PrivateKey, PublicKey
from libp2p.peer.envelope import Envelope
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

ADDRESSES_MAX = 16
"""Of one peer, of each of the two kinds."""
ADDRESS_BYTES_MAX = 256
PROTOCOLS_MAX = 64
PROTOCOL_CHARS_MAX = 128
REMEMBERED_S = 86_400.0
"""How long an address is kept that this node was told to remember, after the last time or the last connection."""
HEARD_S = 7_200.0
"""How long at most one that libp2p heard: the lifetime that it gives them itself."""

_Addresses = dict[Multiaddr, float]
"""When each expires, the best first."""


@dataclass(slots=True)
class _Entry:
    key: PublicKey | None = None
    protocols: tuple[str, ...] = ()
    remembered: _Addresses = field(default_factory=dict)
    """Told by this node's own code: invites, adverts, earlier runs."""
    heard: _Addresses = field(default_factory=dict)
    """Told by libp2p: identify and the DHT."""
    record: Envelope | None = None


class PeerBook(IPeerStore):  # type: ignore[misc]
    """At most `peers_max` peers besides the pinned ones.

    Evicted first are peers that only libp2p heard of, then those that this node was told of, the longest unmentioned
    first; never one that is `pinned` or for which `connected` holds. Metadata and latencies are not kept.
    """

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
        self._peers_max = peers_max
        self._pinned = {peer_id: _Entry() for peer_id in pinned if peer_id != own_id}
        self._told: dict[ID, _Entry] = {}
        self._heard_of: dict[ID, _Entry] = {}
        self._connected = connected
        self._now_s = now_s

    def __len__(self) -> int:
        return len(self._pinned) + len(self._told) + len(self._heard_of)

    # -- for this node's own code -----------------------------------------------------------------------------------

    def remember(self, peer_id: ID, addresses: Iterable[Multiaddr]) -> None:
        """Add addresses, newest first, up to a limit; they are tried before those that libp2p hears."""
        if peer_id == self._own_id:
            return
        if peer_id not in self._pinned:
            entry = self._heard_of.pop(peer_id, None) or self._told.pop(peer_id, None) or _Entry()
            self._told[peer_id] = entry
        else:
            entry = self._pinned[peer_id]
        entry.remembered = _merged(addresses, entry.remembered, self._now_s() + REMEMBERED_S)
        self._evict()

    def left(self, peer_id: ID) -> None:
        """Note that the last connection to a peer ended: its addresses were good until now."""
        entry = self._find(peer_id)
        if entry is not None:
            now_s = self._now_s()
            entry.remembered = dict.fromkeys(entry.remembered, now_s + REMEMBERED_S)
            entry.heard = dict.fromkeys(entry.heard, now_s + HEARD_S)

    # -- keys -------------------------------------------------------------------------------------------------------

    def pubkey(self, peer_id: ID) -> PublicKey:
        """See `IPeerStore`."""
        if peer_id == self._own_id:
            return self._own_keys.public_key
        entry = self._find(peer_id)
        if entry is None or entry.key is None:
            raise PeerStoreError("the public key of this peer is not known")
        return entry.key

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
            self._take(peer_id).key = pubkey

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
        return [self._own_id, *(peer_id for peer_id, entry in self._entries() if entry.key is not None)]

    def clear_keydata(self, peer_id: ID) -> None:
        """See `IPeerStore`; the node's own key stays."""
        entry = self._find(peer_id)
        if entry is not None:
            entry.key = None

    # -- addresses --------------------------------------------------------------------------------------------------

    def add_addr(self, peer_id: ID, addr: Multiaddr, ttl: int = 0) -> None:
        """See `IPeerStore`."""
        self.add_addrs(peer_id, [addr], ttl)

    def add_addrs(self, peer_id: ID, addrs: Sequence[Multiaddr], ttl: int = 0) -> None:
        """See `IPeerStore`: whatever `ttl` says, no longer than `HEARD_S`."""
        if peer_id == self._own_id:
            return
        entry = self._take(peer_id)
        lifetime_s = min(ttl, HEARD_S) if ttl > 0 else HEARD_S
        entry.heard = _merged(addrs, entry.heard, self._now_s() + lifetime_s)

    def addrs(self, peer_id: ID) -> list[Multiaddr]:
        """Return the addresses that have not expired, the best first; those of pinned and connected peers never do."""
        entry = self._find(peer_id)
        if entry is None:
            raise PeerStoreError("the peer is not known")
        if not self._stays(peer_id):
            now_s = self._now_s()
            entry.remembered = {address: end for address, end in entry.remembered.items() if end > now_s}
            entry.heard = {address: end for address, end in entry.heard.items() if end > now_s}
        return list(dict.fromkeys((*entry.remembered, *entry.heard)))[:ADDRESSES_MAX]

    def clear_addrs(self, peer_id: ID) -> None:
        """See `IPeerStore`: forgets what was heard; what this node was told to remember stays."""
        entry = self._find(peer_id)
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
        entry = self._take(signer)
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
        entry = self._find(peer_id)
        return None if entry is None else entry.record

    def maybe_delete_peer_record(self, peer_id: ID) -> None:
        """See `IPeerStore`: a record goes with the addresses that it holds."""
        entry = self._find(peer_id)
        if entry is not None and entry.record is not None and not self.addrs(peer_id):
            entry.record = None

    # -- protocols --------------------------------------------------------------------------------------------------

    def get_protocols(self, peer_id: ID) -> list[str]:
        """See `IPeerStore`."""
        entry = self._find(peer_id)
        if entry is None:
            raise PeerStoreError("the peer is not known")
        return list(entry.protocols)

    def add_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        if peer_id != self._own_id:
            entry = self._take(peer_id)
            good = (name for name in protocols[:PROTOCOLS_MAX] if len(name) <= PROTOCOL_CHARS_MAX)
            entry.protocols = tuple(dict.fromkeys((*good, *entry.protocols)))[:PROTOCOLS_MAX]

    def set_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        self.clear_protocol_data(peer_id)
        self.add_protocols(peer_id, protocols)

    def remove_protocols(self, peer_id: ID, protocols: Sequence[str]) -> None:
        """See `IPeerStore`."""
        entry = self._find(peer_id)
        if entry is not None:
            entry.protocols = tuple(name for name in entry.protocols if name not in protocols)

    def supports_protocols(self, peer_id: ID, protocols: Sequence[str]) -> list[str]:
        """See `IPeerStore`."""
        entry = self._find(peer_id)
        return [] if entry is None else [name for name in protocols if name in entry.protocols]

    def first_supported_protocol(self, peer_id: ID, protocols: Sequence[str]) -> str:
        """See `IPeerStore`."""
        return next(iter(self.supports_protocols(peer_id, protocols)), "")

    def clear_protocol_data(self, peer_id: ID) -> None:
        """See `IPeerStore`."""
        entry = self._find(peer_id)
        if entry is not None:
            entry.protocols = ()

    # -- all of it --------------------------------------------------------------------------------------------------

    def peer_info(self, peer_id: ID) -> PeerInfo:
        """See `IPeerStore`."""
        return PeerInfo(peer_id, self.addrs(peer_id))

    def peer_ids(self) -> list[ID]:
        """See `IPeerStore`."""
        return [self._own_id, *(peer_id for peer_id, _ in self._entries())]

    def has_peer(self, peer_id: ID) -> bool:
        """See `IPeerStore`."""
        return peer_id == self._own_id or self._find(peer_id) is not None

    def clear_peerdata(self, peer_id: ID) -> None:
        """See `IPeerStore`; a pinned peer stays, with nothing known of it."""
        if peer_id in self._pinned:
            self._pinned[peer_id] = _Entry()
        self._told.pop(peer_id, None)
        self._heard_of.pop(peer_id, None)

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

    # -- inside -----------------------------------------------------------------------------------------------------

    def _find(self, peer_id: ID) -> _Entry | None:
        for entries in (self._pinned, self._told, self._heard_of):
            if peer_id in entries:
                return entries[peer_id]
        return None

    def _take(self, peer_id: ID) -> _Entry:
        """Return the entry to write in; a peer that nobody told this node of counts as just mentioned."""
        for entries in (self._pinned, self._told):
            if peer_id in entries:
                return entries[peer_id]
        entry = self._heard_of.pop(peer_id) if peer_id in self._heard_of else _Entry()
        self._heard_of[peer_id] = entry
        self._evict()
        return entry

    def _entries(self) -> list[tuple[ID, _Entry]]:
        return [*self._pinned.items(), *self._told.items(), *self._heard_of.items()]

    def _stays(self, peer_id: ID) -> bool:
        return peer_id in self._pinned or self._connected(peer_id)

    def _evict(self) -> None:
        while len(self._told) + len(self._heard_of) > self._peers_max:
            if not (_drop_oldest(self._heard_of, self._stays) or _drop_oldest(self._told, self._stays)):
                return  # all are connected, and connections are limited


def _drop_oldest(entries: dict[ID, _Entry], stays: Callable[[ID], bool]) -> bool:
    """Drop the first entry that need not stay; those that it passes count as just mentioned."""
    for _ in range(len(entries)):
        peer_id = next(iter(entries))
        entry = entries.pop(peer_id)
        if not stays(peer_id):
            return True
        entries[peer_id] = entry
    return False


def _merged(new: Iterable[Multiaddr], old: _Addresses, end_s: float) -> _Addresses:
    """Return both, the new first, no more than the limit."""
    merged: _Addresses = {}
    for address in new:
        if len(merged) == ADDRESSES_MAX:
            return merged
        with suppress(ValueError):  # the root of every parsing error of the library
            if len(address.to_bytes()) <= ADDRESS_BYTES_MAX:
                merged[address] = end_s
    for address, old_end_s in old.items():
        if len(merged) == ADDRESSES_MAX:
            break
        merged.setdefault(address, old_end_s)
    return merged


def parsed(addresses: Collection[str]) -> list[Multiaddr]:
    """Return the addresses that are multiaddrs; what a peer says of itself may be anything."""
    found = []
    for address in list(addresses)[:ADDRESSES_MAX]:
        with suppress(ValueError):
            found.append(Multiaddr(address))
    return found
