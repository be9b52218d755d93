"""`Dht` by libp2p's Kademlia protocol, bounded in time and memory; it keeps no values and trusts nothing that it finds.

The rules are in `kad_table`, `kad_search`, `provider_records` and `told_addresses`. What this node asks is sent from
here, and what peers ask is answered by `libp2p_kad_server`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.kad_dht.common import PROTOCOL_ID as KAD_PROTOCOL
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from multiaddr import Multiaddr

from swarmharness.address_prefixes import shared_network
from swarmharness.errors import ProtocolError
from swarmharness.identity import PeerId, parse_peer_id, peer_id_from
from swarmharness.network import libp2p_kad_wire as wire
from swarmharness.network.addresses import without_peer
from swarmharness.network.background import Background
from swarmharness.network.dht_lookup import LOOKUPS_KEPT, Lookup
from swarmharness.network.kad_search import KadSearch
from swarmharness.network.kad_table import K, KadTable, nearest
from swarmharness.network.libp2p_kad_server import Asker, KadServer
from swarmharness.network.libp2p_transport import Libp2pTransport
from swarmharness.network.ports import PeerAddress
from swarmharness.network.provider_records import Provider, ProviderRecords, RecordLimits
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.network.told_addresses import ADDRESSES_MAX

_NAMESPACE = b"/swarmharness/"
_QUERY_TIMEOUT_S = 4.0
_SEARCH_TIMEOUT_S = 6.0
"""For a look-up of those next to a key; it goes on with whom it has found by then."""
_LOOKUP_TIMEOUT_S = 8.0
_PARALLEL = 6
_REFRESH_S = 600.0
_UNSEEN_S = 3600.0
_ADDRESS_S = 3600
# Other implementations take 10 ADD_PROVIDER messages in 10 s from one sender and reset the rest, without saying so.
_PROVIDES_MAX = 8
_PROVIDES_WINDOW_S = 10.5


class Libp2pDht:
    """Use as an async context manager, inside that of its transport.

    A node that listens serves the DHT; one that only dials asks and publishes, and is in nobody's routing table.
    """

    def __init__(self, transport: Libp2pTransport) -> None:
        limits = transport.limits
        self._transport = transport
        self._host = transport.host
        self._fence = transport.fence
        self._book = transport.host.get_peerstore()
        self._own: bytes = transport.host.get_id().to_bytes()
        self._table = KadTable(self._own)
        self._records = ProviderRecords(
            self._own,
            RecordLimits(limits.dht_records_max, limits.dht_records_per_key_max, limits.dht_records_per_peer_max),
        )
        self._server = KadServer(
            self._table,
            self._records,
            TokenBuckets(per_s=limits.dht_requests_per_s, burst=10 * limits.dht_requests_per_s),
            transport.refused,
            asker_of=self._asker_of,
            addresses_of=lambda peer: self._addresses_of(ID(peer)),
            met=self._met,
            turn=lambda asker: transport.turn(asker.peer_id),
        )
        self._provided: dict[bytes, None] = {}
        self._recent: deque[float] = deque()
        self._pace = trio.Lock()
        self._background = Background()
        self.lookups: deque[Lookup] = deque(maxlen=LOOKUPS_KEPT)
        """The last look-ups that this node made, oldest first."""

    async def __aenter__(self) -> Self:
        nursery = await self._background.open()
        if self._transport.listening:
            self._host.set_stream_handler(KAD_PROTOCOL, self._server.handle)
        nursery.start_soon(self._fence.keep, "DHT", self._refresh)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport.listening:
            self._host.remove_stream_handler(KAD_PROTOCOL)
        await self._background.close(error)

    # -- the port -----------------------------------------------------------------------------------------------------

    async def add_peer(self, peer: PeerAddress) -> None:
        """See `Dht`."""
        self._transport.add_addresses(peer)
        target = ID.from_base58(parse_peer_id(peer.peer_id))
        if not self._addresses_of(target):
            return
        first = not len(self._table)
        self._table.note(target.to_bytes(), "", trio.current_time())
        if first:
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
        self._provided[key] = None
        with self._fence.around("DHT", "provide"):
            message = wire.request(wire.ADD_PROVIDER, _NAMESPACE + key)
            addresses = [address.to_bytes() for address in self._host.get_addrs()]
            wire.add_peer(message.providerPeers, self._own, addresses)
            async with trio.open_nursery() as nursery:
                for peer in await self._closest(_NAMESPACE + key):
                    nursery.start_soon(self._ask, peer, message)

    async def find_providers(self, key: bytes, *, limit: int) -> Sequence[PeerAddress]:
        """See `Dht`."""
        name = _NAMESPACE + key
        found: dict[PeerId, PeerAddress] = {}
        with self._fence.around("DHT", "find_providers"), trio.move_on_after(_LOOKUP_TIMEOUT_S):
            if key in self._provided:
                found[self._transport.peer_id] = PeerAddress(self._transport.peer_id, self._transport.addresses)
            self._merge(found, self._records.get(name, trio.current_time()))
            closest = await self._closest(name)
            async with trio.open_nursery() as nursery:
                slots = trio.Semaphore(_PARALLEL)
                for peer in closest:
                    await slots.acquire()
                    if len(found) >= limit:
                        break
                    nursery.start_soon(self._ask_providers, peer, name, found, slots)
        return list(found.values())[:limit]

    # -- asking -------------------------------------------------------------------------------------------------------

    async def _closest(self, key: bytes) -> list[bytes]:
        """Look for the peers next to a key; returns whom it has found in time."""
        known = self._table.closest(key)
        heard: list[bytes] = []
        if len(known) < K:
            known += [peer.to_bytes() for peer in self._host.get_connected_peers()]
            heard = nearest((peer.to_bytes() for peer in self._book.peers_with_addrs()), key)
        search = KadSearch(self._own, key, known, heard)
        with trio.move_on_after(_SEARCH_TIMEOUT_S):
            while batch := search.next_round():
                async with trio.open_nursery() as nursery:
                    for peer in batch:
                        nursery.start_soon(self._ask_closest, search, peer, key)
        self.lookups.append(Lookup(search.rounds, search.asked, search.failed))
        return search.result()

    async def _ask_closest(self, search: KadSearch, peer: bytes, key: bytes) -> None:
        answer = await self._ask(peer, wire.request(wire.FIND_NODE, key))
        if answer is None:
            search.no_answer(peer)
            self._table.forget(peer)
            return
        named = wire.told_peers(answer.closerPeers, self._host_of(peer))
        for other, addresses in named:
            if addresses and other != self._own:
                self._book.add_addrs(ID(other), addresses, _ADDRESS_S)
        search.answered(peer, [other for other, _ in named])

    async def _ask_providers(
        self, peer: bytes, key: bytes, found: dict[PeerId, PeerAddress], slots: trio.Semaphore
    ) -> None:
        try:
            answer = await self._ask(peer, wire.request(wire.GET_PROVIDERS, key))
            if answer is None:
                self._table.forget(peer)
            else:
                told = wire.told_peers(answer.providerPeers, self._host_of(peer))
                self._merge(found, [Provider(one, tuple(a.to_bytes() for a in addresses)) for one, addresses in told])
        finally:
            slots.release()

    async def _ask(self, peer: bytes, message: Any) -> Any:
        """Send a message to a peer and return the answer to it; None if none comes."""
        answer, stream = None, None
        with self._fence.around("DHT", "ask"), trio.move_on_after(_QUERY_TIMEOUT_S):
            try:
                stream = await self._host.new_stream(ID(peer), [KAD_PROTOCOL])
                await wire.write_message(stream, message)
                answer = await wire.read_message(stream, wire.ANSWER_BYTES_MAX)
                if answer.type != message.type:
                    raise ProtocolError("an answer to another question")
            except wire.EndedError:
                pass
            except ProtocolError:
                answer = None
                self._transport.refused.note("DHT: answer", ID(peer).to_base58())
            finally:
                if stream is not None:
                    with trio.CancelScope(shield=True):
                        await stream.reset()
        if answer is not None:
            self._met(self._asker_of(ID(peer)))
        return answer

    def _merge(self, found: dict[PeerId, PeerAddress], providers: Sequence[Provider]) -> None:
        for provider in providers:
            try:
                peer_id = peer_id_from(provider.peer)
            except ProtocolError:
                continue
            texts = map(str, wire.told_addresses(provider.addresses, "127.0.0.1"))  # checked when they came
            addresses = tuple(map(without_peer, texts))
            present = found.get(peer_id)
            if present is not None:
                addresses = tuple(dict.fromkeys((*present.addresses, *addresses)))[: 2 * ADDRESSES_MAX]
            found[peer_id] = PeerAddress(peer_id, addresses)

    # -- whom it knows ------------------------------------------------------------------------------------------------

    def _met(self, asker: Asker) -> None:
        """Put a peer that spoke over a connection of its own into the table, if it can be asked in turn."""
        with suppress(PeerStoreError):  # it says where it is, and what it serves, a moment after it has connected
            protocols = self._book.get_protocols(asker.peer)
            if not self._book.addrs(asker.peer) or (protocols and KAD_PROTOCOL not in protocols):
                return
            self._table.note(asker.peer.to_bytes(), asker.network, trio.current_time())

    def _addresses_of(self, peer: ID) -> list[Multiaddr]:
        try:
            return list(self._book.addrs(peer))
        except PeerStoreError:
            return []

    def _asker_of(self, peer: ID) -> Asker:
        peer_id = peer.to_base58()
        host = self._transport.host_of(peer_id)
        return Asker(peer, peer_id, host, shared_network(host, loopback=self._transport.limits.loopback))

    def _host_of(self, peer: bytes) -> str:
        return self._transport.host_of(ID(peer).to_base58())

    async def _look_around(self) -> None:
        """Fill the routing table: ask the first peer for those closest to this node."""
        with self._fence.around("DHT", "look_around"):
            await self._closest(self._own)

    async def _refresh(self) -> None:
        """Look for neighbours, and in each far part of the table of which nothing was heard, now and then."""
        while True:
            await trio.sleep(_REFRESH_S)
            if len(self._table):
                await self._closest(self._own)
                for peer in self._table.unseen(trio.current_time() - _UNSEEN_S)[:K]:
                    await self._closest(peer)
