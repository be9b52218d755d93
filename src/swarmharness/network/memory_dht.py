"""The in-memory twin of the Kademlia DHT: buckets, iterative look-ups and expiring records; nothing leaves the process.

Distances are XOR over SHA-256 of ids and keys, k = 20, as in Maymounkov and Mazieres, "Kademlia" (2002). Alpha, and the
end of a look-up, are those of libp2p's KadDHT; a test compares the counts of both.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Self

import trio

from swarmharness.identity import PeerId
from swarmharness.network.dht_lookup import LOOKUPS_KEPT, Lookup
from swarmharness.network.memory import MemoryNetwork, MemoryTransport
from swarmharness.network.ports import PeerAddress

K = 20
ALPHA = 10
PEERS_FEW = 5
"""With fewer in its buckets, a node also asks whom it is connected to."""
PROVIDER_TTL_S = 48 * 3600.0
_QUERY_TIMEOUT_S = 4.0
_ROUNDS_MAX = 20
QUERY_BYTES = 100
ANSWER_BYTES = 1600
"""About what a message with K peers of one address each takes."""

_Bucket = dict[PeerId, tuple[int, PeerId, tuple[str, ...]]]
_EMPTY: _Bucket = {}


class MemoryDht:
    """`Dht` of one node of a `MemoryNetwork`; use as an async context manager, inside that of its transport.

    A node that listens serves the DHT; one that only dials is in nobody's routing table.
    """

    def __init__(self, transport: MemoryTransport, *, provider_ttl_s: float = PROVIDER_TTL_S) -> None:
        self._transport = transport
        self._network: MemoryNetwork = transport.network
        self._place = _place(transport.peer_id)
        self._buckets: dict[int, _Bucket] = {}
        """Peers with their places and addresses."""
        self._records: dict[bytes, dict[PeerId, tuple[float, tuple[str, ...]]]] = {}
        self._ttl_s = provider_ttl_s
        self.lookups: deque[Lookup] = deque(maxlen=LOOKUPS_KEPT)
        """The last look-ups that this node made, oldest first."""

    async def __aenter__(self) -> Self:
        self._network.dhts[self._transport.peer_id] = self
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._network.dhts[self._transport.peer_id]

    async def add_peer(self, peer: PeerAddress) -> None:
        """See `Dht`."""
        self._transport.add_addresses(peer)
        first = not self._buckets
        self._note(peer.peer_id, peer.addresses)
        if first:
            await self._closest(self._place)

    async def provide(self, key: bytes) -> None:
        """See `Dht`."""
        own = self._transport.peer_id
        self._store(key, own, self._transport.addresses)
        for peer_id in await self._closest(_place(key)):
            other = await self._reach(peer_id)
            if other is not None:
                other._store(key, own, self._transport.addresses)

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        """See `Dht`."""
        found = dict(self._providers(key))
        for peer_id in await self._closest(_place(key)):
            if len(found) >= limit:
                break
            other = await self._reach(peer_id)
            if other is not None:
                found.update(other._providers(key))
        return [PeerAddress(peer_id, addresses) for peer_id, addresses in found.items()][:limit]

    # -- what peers ask of this node ------------------------------------------------------------------------------

    def _store(self, key: bytes, provider: PeerId, addresses: tuple[str, ...]) -> None:
        records = self._records.setdefault(key, {})
        if provider in records or len(records) < K:
            records[provider] = (trio.current_time() + self._ttl_s, addresses)

    def _providers(self, key: bytes) -> dict[PeerId, tuple[str, ...]]:
        now = trio.current_time()
        records = self._records.get(key, {})
        for provider in [provider for provider, (expires, _) in records.items() if expires <= now]:
            del records[provider]
        return {provider: addresses for provider, (_, addresses) in records.items()}

    def _nearest(self, place: int) -> list[tuple[PeerId, tuple[str, ...]]]:
        """Return the k known peers nearest to a place.

        Those in the place's own bucket are nearer than those in the buckets below it, which differ from the place in
        the same highest bit; then come the buckets above it, one after the other.
        """
        own = (place ^ self._place).bit_length()
        below = [number for number in self._buckets if number < own]
        above = ([number] for number in sorted(self._buckets) if number > own)
        nearest: list[tuple[int, PeerId, tuple[str, ...]]] = []
        for numbers in ([own], below, *above):
            entries = (entry for number in numbers for entry in self._buckets.get(number, _EMPTY).values())
            nearest += sorted((at ^ place, peer, its) for at, peer, its in entries)
            if len(nearest) >= K:
                break
        return [(peer, its) for _, peer, its in nearest[:K]]

    # -- looking up -----------------------------------------------------------------------------------------------

    async def _closest(self, place: int) -> list[PeerId]:
        """Return the k peers closest to a place that this node heard of, asking as libp2p does.

        It asks, `ALPHA` at a time, the closest of which it has heard, and ends with the first round that brings no
        closer one, whether or not all of the k were asked by then.
        """
        closest = [peer_id for peer_id, _ in self._nearest(place)]
        if len(closest) < PEERS_FEW:
            closest = _sorted({*closest, *self._transport.connected()}, place)[:K]
        queried: set[PeerId] = set()
        failed: set[PeerId] = set()
        hops = 0
        while hops < _ROUNDS_MAX:
            batch = [peer_id for peer_id in closest if peer_id not in queried][:ALPHA]
            if not batch:
                break
            hops += 1
            queried.update(batch)
            heard: set[PeerId] = set()
            async with trio.open_nursery() as nursery:
                for peer_id in batch:
                    nursery.start_soon(self._ask, peer_id, place, heard, failed)
            known = _sorted({*closest, *heard}, place)[:K]
            if heard and known == closest:
                break
            closest = known
        self.lookups.append(Lookup(hops, len(queried), len(failed)))
        return closest

    async def _ask(self, peer_id: PeerId, place: int, heard: set[PeerId], failed: set[PeerId]) -> None:
        other = await self._reach(peer_id)
        if other is None:
            failed.add(peer_id)
            self._forget(peer_id)
            return
        for closer, addresses in other._nearest(place):
            if closer != self._transport.peer_id:
                heard.add(closer)
                self._note(closer, addresses)

    async def _reach(self, peer_id: PeerId) -> MemoryDht | None:
        """Return the peer's side of the DHT if a query gets there and back in time; it then knows this node too."""
        own = self._transport.peer_id
        with trio.move_on_after(_QUERY_TIMEOUT_S):
            await self._network.travel(own, peer_id, "dht", QUERY_BYTES)
            node = self._network.reachable(peer_id)
            other = self._network.dhts.get(peer_id)
            if node is None or other is None or not node.addresses or not node.admits(own):
                return None
            if self._transport.addresses:
                other._note(own, self._transport.addresses)
            await self._network.travel(peer_id, own, "dht", ANSWER_BYTES)
            return other
        return None

    def _note(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        """Put a peer into its bucket; a full bucket keeps its old peers, which have proved to stay."""
        if peer_id == self._transport.peer_id or not addresses:
            return
        place = _place(peer_id)
        bucket = self._buckets.setdefault((place ^ self._place).bit_length(), {})
        known = bucket.get(peer_id)
        if len(bucket) < K if known is None else known[2] != addresses:
            bucket[peer_id] = place, peer_id, addresses

    def _forget(self, peer_id: PeerId) -> None:
        bucket = self._buckets.get((_place(peer_id) ^ self._place).bit_length())
        if bucket is not None:
            bucket.pop(peer_id, None)


def _sorted(peers: Iterable[PeerId], place: int) -> list[PeerId]:
    return sorted(peers, key=lambda peer_id: _place(peer_id) ^ place)


@lru_cache(maxsize=65_536)
def _place(name: bytes | str) -> int:
    """Return where an id or key lies in the 256-bit space."""
    return int.from_bytes(hashlib.sha256(name.encode() if isinstance(name, str) else name).digest(), "big")
