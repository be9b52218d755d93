"""Who provides which key, in bounded memory: what a node of the DHT keeps for others; pure, and it believes no record.

What a crowd can have is bounded by key, by peer and by network of addresses. When there is no more room, the network
with the most records loses one: of its oldest, the one whose key is the farthest from this node.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from swarmharness.network.kad_table import place

RECORD_S = 48 * 3600.0
"""How long a record is kept that is not renewed, as everywhere in libp2p."""
KEY_BYTES_MAX = 80
_OLDEST = 16
"""Of a network that loses a record; the farthest of so many goes."""


@dataclass(frozen=True, slots=True)
class RecordLimits:
    """A record takes about a kilobyte with its addresses, so all of them 16 MiB."""

    records_max: int = 16_384
    per_key_max: int = 64
    per_provider_max: int = 256


@dataclass(frozen=True, slots=True)
class Provider:
    """A peer that said that it provides a key, and where it said it is."""

    peer: bytes
    addresses: tuple[bytes, ...]


@dataclass(slots=True)
class _Record:
    provider: Provider
    network: str
    expires_s: float


_Place = tuple[bytes, bytes]
"""Key and provider."""


class ProviderRecords:
    """The records that the node `own` keeps."""

    def __init__(self, own: bytes, limits: RecordLimits) -> None:
        self._at = place(own)
        self._limits = limits
        self._keys: dict[bytes, dict[bytes, _Record]] = {}
        self._networks: dict[str, OrderedDict[_Place, None]] = {}
        self._of_provider: dict[bytes, OrderedDict[bytes, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, key: bytes, provider: Provider, network: str, now_s: float) -> bool:
        """Keep or renew a record of a peer in a network; returns whether it was kept."""
        if not 0 < len(key) <= KEY_BYTES_MAX:
            return False
        self._drop(key, provider.peer)
        self._expire(key, now_s)
        if not self._has_room(key, provider.peer, network):
            return False
        network = network or provider.peer.hex()
        self._keys.setdefault(key, {})[provider.peer] = _Record(provider, network, now_s + RECORD_S)
        self._networks.setdefault(network, OrderedDict())[key, provider.peer] = None
        self._of_provider.setdefault(provider.peer, OrderedDict())[key] = None
        self._count += 1
        return True

    def get(self, key: bytes, now_s: float) -> list[Provider]:
        """Return who provides a key, whoever renewed last first."""
        self._expire(key, now_s)
        return [record.provider for record in reversed(self._keys.get(key, {}).values())]

    def _has_room(self, key: bytes, peer: bytes, network: str) -> bool:
        of_key = self._keys.get(key, {})
        if len(of_key) >= self._limits.per_key_max:
            victim = self._least_of_key(of_key, network)
            if victim is None:
                return False
            self._drop(key, victim)
        own = self._of_provider.get(peer, OrderedDict())
        if len(own) >= self._limits.per_provider_max:
            self._drop(next(iter(own)), peer)
        if self._count >= self._limits.records_max:
            self._drop(*self._farthest_of_busiest())
        return True

    @staticmethod
    def _least_of_key(records: dict[bytes, _Record], network: str) -> bytes | None:
        """Return whose record of a full key goes: the oldest of a network that has two more than the newcomer's."""
        shares: dict[str, int] = {}
        for record in records.values():
            shares[record.network] = shares.get(record.network, 0) + 1
        busiest = max(shares, key=lambda one: shares[one])
        if shares[busiest] < shares.get(network, 0) + 2:
            return None
        return next(peer for peer, record in records.items() if record.network == busiest)

    def _farthest_of_busiest(self) -> _Place:
        busiest = max(self._networks.values(), key=len)
        return max(islice(busiest, _OLDEST), key=lambda one: place(one[0]) ^ self._at)

    def _expire(self, key: bytes, now_s: float) -> None:
        for peer in [peer for peer, record in self._keys.get(key, {}).items() if record.expires_s <= now_s]:
            self._drop(key, peer)

    def _drop(self, key: bytes, peer: bytes) -> None:
        record = self._keys.get(key, {}).pop(peer, None)
        if record is None:
            return
        self._count -= 1
        of_network, of_provider = self._networks[record.network], self._of_provider[peer]
        del of_network[key, peer], of_provider[key]
        if not of_network:
            del self._networks[record.network]
        if not of_provider:
            del self._of_provider[peer]
        if not self._keys[key]:
            del self._keys[key]
