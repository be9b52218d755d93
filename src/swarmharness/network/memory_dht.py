"""The in-memory twin of the Kademlia DHT: buckets, iterative look-ups and expiring records; nothing leaves the process.

Distances are XOR over SHA-256 of ids and keys, k = 20, as in Maymounkov and Mazieres, "Kademlia" (2002). Alpha, and the
end of a look-up, are those of `KadSearch`; a test compares the counts of both.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
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

_Contact = tuple[int, PeerId, tuple[str, ...]]
"""A peer's place, itself, and its addresses: nodes tell each other of it, and all have the same one."""


class MemoryDht:
    """`Dht` of one node of a `MemoryNetwork`; use as an async context manager, inside that of its transport.

    A node that listens serves the DHT; one that only dials is in nobody's routing table.
    """

    def __init__(self, transport: MemoryTransport, *, provider_ttl_s: float = PROVIDER_TTL_S) -> None:
        self._transport = transport
        self._network: MemoryNetwork = transport.network
        self._place = _place(transport.peer_id)
        self._contact: _Contact = self._place, transport.peer_id, transport.addresses
        transport.watch_addresses(self._moved)
        self._buckets: dict[int, dict[PeerId, _Contact]] = {}
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
        self._note((_place(peer.peer_id), peer.peer_id, peer.addresses))
        if first:
            await self._closest(self._place)

    async def provide(self, key: bytes) -> None:
        """See `Dht`; as in libp2p, nobody waits until the record is there."""
        own, addresses = self._transport.peer_id, self._transport.addresses
        self._store(key, own, addresses)

        def arrive(peer_id: PeerId) -> bool:
            other = self.reached(peer_id)
            if other is not None:
                other._store(key, own, addresses)
            return True

        for peer_id in await self._closest(_place(key)):
            self._network.post(own, peer_id, "dht", QUERY_BYTES, partial(arrive, peer_id))

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        """See `Dht`."""
        found = dict(self._providers(key))
        closest = await self._closest(_place(key))
        for start in range(0, len(closest), ALPHA):
            if len(found) >= limit:
                break
            await self._ask(closest[start : start + ALPHA], lambda other: found.update(other._providers(key)))
        return [PeerAddress(peer_id, addresses) for peer_id, addresses in found.items()][:limit]

    def reached(self, peer_id: PeerId) -> MemoryDht | None:
        """Return the side of a peer at which a message arrives, if there is one; it then knows this node too."""
        node, other = self._network.reachable(peer_id), self._network.dhts.get(peer_id)
        if node is None or other is None or not node.addresses or not node.admits(self._transport.peer_id):
            return None
        other._note(self._contact)
        return other

    def _moved(self) -> None:
        self._contact = self._place, self._transport.peer_id, self._transport.addresses

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

    def _nearest(self, place: int) -> list[tuple[int, _Contact]]:
        """Return the k known peers nearest to a place with their distances, the nearest first.

        Those in the place's own bucket are nearer than those in the buckets below it, which differ from the place in
        the same highest bit; then come the buckets above it, one after the other.
        """
        buckets, own = self._buckets, (place ^ self._place).bit_length()
        below = [number for number in buckets if number < own]
        above = ([number] for number in sorted(buckets) if number > own)
        nearest: list[tuple[int, _Contact]] = []
        for numbers in ([own], below, *above):
            found = [
                (contact[0] ^ place, contact)
                for number in numbers
                if number in buckets
                for contact in buckets[number].values()
            ]
            found.sort()
            nearest += found
            if len(nearest) >= K:
                break
        return nearest[:K]

    # -- looking up -----------------------------------------------------------------------------------------------

    async def _closest(self, place: int) -> list[PeerId]:
        """Return the k peers closest to a place that this node heard of, asking as libp2p does.

        It asks, `ALPHA` at a time, the closest of which it has heard, and ends with the first round that brings no
        closer one, whether or not all of the k were asked by then.
        """
        closest = [(distance, contact[1]) for distance, contact in self._nearest(place)]
        if len(closest) < PEERS_FEW:
            connected = [(_place(peer_id) ^ place, peer_id) for peer_id in self._transport.connected()]
            closest = sorted({*closest, *connected})[:K]
        queried: set[PeerId] = set()
        failed = 0
        hops = 0
        while hops < _ROUNDS_MAX:
            batch = [peer_id for _, peer_id in closest if peer_id not in queried][:ALPHA]
            if not batch:
                break
            hops += 1
            queried.update(batch)
            heard: set[tuple[int, PeerId]] = set()
            silent = await self._ask(batch, partial(self._hear, place, heard))
            failed += len(silent)
            for peer_id in silent:
                self._forget(peer_id)
            known = sorted({*closest, *heard})[:K]
            if heard and known == closest:
                break
            closest = known
        self.lookups.append(Lookup(hops, len(queried), failed))
        return [peer_id for _, peer_id in closest]

    def _hear(self, place: int, heard: set[tuple[int, PeerId]], other: MemoryDht) -> None:
        own = self._transport.peer_id
        for distance, contact in other._nearest(place):
            if contact[1] != own:
                heard.add((distance, contact[1]))
                self._note(contact)

    async def _ask(self, peers: Sequence[PeerId], answered: Callable[[MemoryDht], object]) -> set[PeerId]:
        """Ask peers at once, with `answered` for each answer as it comes; returns those from whom none came in time."""
        queries = _Queries(self, peers, answered)
        with trio.move_on_after(_QUERY_TIMEOUT_S):
            await queries.over.wait()
        return queries.silent

    def _note(self, contact: _Contact) -> None:
        """Put a peer into its bucket; a full bucket keeps its old peers, which have proved to stay."""
        place, peer_id, addresses = contact
        if place == self._place or not addresses:
            return
        number = (place ^ self._place).bit_length()
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = {}
        known = bucket.get(peer_id)
        if len(bucket) < K if known is None else known[2] != addresses:
            bucket[peer_id] = contact

    def _forget(self, peer_id: PeerId) -> None:
        bucket = self._buckets.get((_place(peer_id) ^ self._place).bit_length())
        if bucket is not None:
            bucket.pop(peer_id, None)


class _Queries:
    """Some queries that are on their way at the same time."""

    def __init__(self, dht: MemoryDht, peers: Sequence[PeerId], answered: Callable[[MemoryDht], object]) -> None:
        self._dht = dht
        self._transport = dht._transport
        self._answered = answered
        self._left = len(peers)
        self.silent = set(peers)
        """Those from whom no answer has come."""
        self.over = trio.Event()
        for peer_id in peers:
            self._post(self._transport.peer_id, peer_id, QUERY_BYTES, partial(self._asked, peer_id))

    def _post(self, left: PeerId, right: PeerId, size_bytes: int, arrived: Callable[[], bool]) -> None:
        self._transport.network.post(left, right, "dht", size_bytes, arrived)

    def _asked(self, peer_id: PeerId) -> bool:
        other = self._dht.reached(peer_id)
        if other is None:
            return self._is_one_less()
        self._post(peer_id, self._transport.peer_id, ANSWER_BYTES, partial(self._heard, peer_id, other))
        return True

    def _heard(self, peer_id: PeerId, other: MemoryDht) -> bool:
        self.silent.discard(peer_id)
        self._answered(other)
        return self._is_one_less()

    def _is_one_less(self) -> bool:
        """Tell whether others are on their way still."""
        self._left -= 1
        if not self._left:
            self.over.set()
        return bool(self._left)


@lru_cache(maxsize=65_536)
def _place(name: bytes | str) -> int:
    """Return where an id or key lies in the 256-bit space."""
    return int.from_bytes(hashlib.sha256(name.encode() if isinstance(name, str) else name).digest(), "big")
