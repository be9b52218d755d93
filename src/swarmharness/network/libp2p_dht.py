"""`Dht` over libp2p's KadDHT, bounded in time; it never stores values and never trusts what it finds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo

from swarmharness.errors import ProtocolError
from swarmharness.identity import PeerId, parse_peer_id, peer_id_from
from swarmharness.network.addresses import without_peer
from swarmharness.network.background import Background
from swarmharness.network.dht_lookup import LOOKUPS_KEPT, Lookup
from swarmharness.network.libp2p_peer_store import parsed
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress

_NAMESPACE = b"/swarmharness/"
_QUERY_TIMEOUT_S = 4.0
_LOOKUP_TIMEOUT_S = 8.0
_PROVIDE_TIMEOUT_S = 15.0
_PARALLEL = 6
_ADDRESSES_MAX = 16
_ADDRESS_BYTES_MAX = 512
"""The text of a longer one, which may hold a peer id of any length, could take minutes to work out."""
# A peer takes 10 ADD_PROVIDER messages in 10 s from one sender and resets the rest, without saying so.
_PROVIDES_MAX = 8
_PROVIDES_WINDOW_S = 10.5


@dataclass(slots=True)
class _Counting:
    """A look-up under way."""

    hops: int = 0
    queried: int = 0
    failed: int = 0
    under_way: int = 0


class Libp2pDht:
    """Use as an async context manager, inside that of its transport.

    A node that listens serves the DHT; one that only dials asks and publishes, and is in nobody's routing table.
    """

    def __init__(self, transport: Libp2pTransport) -> None:
        self._transport = transport
        self._host = transport.host
        self._fence = transport.fence
        self._dht: Any = None
        self._recent: deque[float] = deque()
        self._pace = trio.Lock()
        self._background = Background()
        self.lookups: deque[Lookup] = deque(maxlen=LOOKUPS_KEPT)
        """The last look-ups that this node made, oldest first."""

    async def __aenter__(self) -> Self:
        self._dht = KadDHT(self._host, DHTMode.SERVER if self._transport.listening else DHTMode.CLIENT)
        self._count_lookups()
        nursery = await self._background.open()
        await nursery.start(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._background.close(error)

    async def add_peer(self, peer: PeerAddress) -> None:
        """See `Dht`."""
        self._transport.add_addresses(peer)
        target = ID.from_base58(parse_peer_id(peer.peer_id))
        addresses = parsed(peer.addresses)
        known_before = self._dht.routing_table.size()
        with self._fence.around("DHT", "add_peer"):
            await self._dht.routing_table.add_peer(PeerInfo(target, addresses))
        if known_before == 0:
            self._background.nursery.start_soon(self._look_around)

    async def provide(self, key: bytes) -> None:
        """See `Dht`; how many peers took the record is not known to be told."""
        async with self._pace:
            while len(self._recent) >= _PROVIDES_MAX:
                wait_s = self._recent[0] + _PROVIDES_WINDOW_S - trio.current_time()
                if wait_s > 0:
                    await trio.sleep(wait_s)
                self._recent.popleft()
            self._recent.append(trio.current_time())
        with self._fence.around("DHT", "provide"), trio.move_on_after(_PROVIDE_TIMEOUT_S):
            await self._dht.provider_store.provide(_NAMESPACE + key)

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        """See `Dht`.

        KadDHT's own method answers from its local copy alone as soon as that has one entry, be it this node itself;
        so this asks the closest peers and merges.
        """
        name = _NAMESPACE + key
        found: dict[PeerId, PeerAddress] = {}
        with self._fence.around("DHT", "find_providers"), trio.move_on_after(_LOOKUP_TIMEOUT_S):
            self._merge(found, self._dht.provider_store.get_providers(name))
            closest = await self._dht.peer_routing.find_closest_peers_network(name)
            async with trio.open_nursery() as nursery:
                slots = trio.Semaphore(_PARALLEL)
                for peer in closest:
                    await slots.acquire()
                    if len(found) >= limit:
                        break
                    nursery.start_soon(self._ask, peer, name, found, slots)
        return list(found.values())[:limit]

    async def _ask(self, peer: ID, name: bytes, found: dict[PeerId, PeerAddress], slots: trio.Semaphore) -> None:
        try:
            with self._fence.around("DHT", "ask"), trio.move_on_after(_QUERY_TIMEOUT_S):
                providers, _ = await self._dht.provider_store._get_providers_from_peer_with_closers(peer, name)
                self._merge(found, providers)
        finally:
            slots.release()

    def _merge(self, found: dict[PeerId, PeerAddress], providers: Sequence[PeerInfo]) -> None:
        for provider in providers:
            try:
                peer_id = peer_id_from(provider.peer_id.to_bytes())
            except ProtocolError:
                continue
            short = [
                address for address in provider.addrs[:_ADDRESSES_MAX] if len(address.to_bytes()) <= _ADDRESS_BYTES_MAX
            ]
            addresses = tuple(without_peer(str(address)) for address in short)
            present = found.get(peer_id)
            if present is not None:
                addresses = tuple(dict.fromkeys((*present.addresses, *addresses)))[:_ADDRESSES_MAX]
            found[peer_id] = PeerAddress(peer_id, addresses)

    def _count_lookups(self) -> None:
        """Count the queries of each look-up, and its rounds: in each, KadDHT waits for all before it goes on."""
        routing = self._dht.peer_routing
        look_up, ask = routing.find_closest_peers_network, routing._query_peer_for_closest
        counting: ContextVar[_Counting | None] = ContextVar("counting", default=None)

        async def counted_look_up(*arguments: Any, **more: Any) -> Any:
            count = _Counting()
            token = counting.set(count)
            try:
                return await look_up(*arguments, **more)
            finally:
                counting.reset(token)
                self.lookups.append(Lookup(count.hops, count.queried, count.failed))

        async def counted_ask(*arguments: Any) -> Any:
            count = counting.get() or _Counting()
            count.hops += not count.under_way
            count.queried += 1
            count.under_way += 1
            answer: Any = ()
            try:
                answer = await ask(*arguments)
                return answer
            finally:
                count.under_way -= 1
                count.failed += not answer

        routing.find_closest_peers_network, routing._query_peer_for_closest = counted_look_up, counted_ask

    async def _look_around(self) -> None:
        """Fill the routing table: ask the first peer for those closest to this node."""
        with self._fence.around("DHT", "look_around"), trio.move_on_after(_LOOKUP_TIMEOUT_S):
            await self._dht.peer_routing.find_closest_peers_network(self._host.get_id().to_bytes())

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        started = False

        async def run() -> None:
            nonlocal started
            async with self._fence.service(self._dht):
                if not started:
                    started = True
                    task_status.started()
                await trio.sleep_forever()

        await self._fence.keep("DHT", run)
