"""The routing table of a Kademlia node: whom it knows, near itself many, far away few; pure, and it asks nobody.

Distances are XOR over SHA-256 of ids and keys, buckets hold k = 20: Maymounkov and Mazieres, "Kademlia" (2002). As
there, a bucket that is full takes nobody new, because who was there for long stays longest: a crowd of newcomers drives
nobody out. Of one network of addresses no more than a share gets in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

K = 20
PEERS_PER_NETWORK_MAX = 2
"""Of one bucket."""


@lru_cache(maxsize=8_192)
def place(key: bytes) -> int:
    """Return where an id or a key lies."""
    return int.from_bytes(sha256(key).digest(), "big")


def nearest(peers: Iterable[bytes], key: bytes, count: int = K) -> list[bytes]:
    """Return the peers next to a key, the nearest first."""
    at = place(key)
    return sorted(peers, key=lambda peer: place(peer) ^ at)[:count]


@dataclass(slots=True)
class _Entry:
    network: str
    seen_s: float


class KadTable:
    """The table of the node with the id `own`; ids are bytes."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._place = place(own)
        self._buckets: dict[int, dict[bytes, _Entry]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._buckets.values()))

    def __contains__(self, peer: bytes) -> bool:
        return peer in self._bucket(peer)

    def note(self, peer: bytes, network: str, now_s: float) -> bool:
        """Note that a peer is there, and in which network (empty: not counted); returns whether it is in the table."""
        if peer == self._own:
            return False
        bucket = self._bucket(peer)
        entry = bucket.get(peer)
        if entry is not None:
            entry.seen_s = now_s
            return True
        if len(bucket) >= K:
            return False
        if network and sum(one.network == network for one in bucket.values()) >= PEERS_PER_NETWORK_MAX:
            return False
        self._buckets.setdefault(self._number(peer), {})[peer] = _Entry(network, now_s)
        return True

    def forget(self, peer: bytes) -> None:
        """Note that a peer does not answer."""
        self._bucket(peer).pop(peer, None)

    def closest(self, key: bytes, count: int = K) -> list[bytes]:
        """Return the peers next to a key, the nearest first."""
        return nearest((peer for bucket in self._buckets.values() for peer in bucket), key, count)

    def unseen(self, before_s: float) -> list[bytes]:
        """Return one peer of each bucket in which nobody was seen since: to look for it finds its neighbours."""
        return [
            next(iter(bucket))
            for bucket in self._buckets.values()
            if bucket and max(entry.seen_s for entry in bucket.values()) < before_s
        ]

    def _number(self, peer: bytes) -> int:
        return (place(peer) ^ self._place).bit_length()

    def _bucket(self, peer: bytes) -> dict[bytes, _Entry]:
        return self._buckets.get(self._number(peer), {})
