"""Answers what peers ask of this node's part of the DHT, each within its share; it asks nobody.

In place of libp2p's, which waits for a message without end, serves twelve streams of all peers together, and keeps as
many records as come. No values are kept: nothing here needs them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import trio
from libp2p.peer.id import ID

from swarmharness.errors import ProtocolError
from swarmharness.network import libp2p_kad_wire as wire
from swarmharness.network.kad_table import K, KadTable
from swarmharness.network.provider_records import KEY_BYTES_MAX, Provider, ProviderRecords
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.network.told_addresses import ADDRESSES_MAX
from swarmharness.refusals import Refusals

PROVIDERS_TOLD_MAX = 20
_STREAM_S = 10.0
"""For a message to come, and for an answer to be taken: a slow mobile link needs two."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks: its id, the address it is connected from, and the network that it is counted under (or nothing)."""

    peer: ID
    peer_id: str
    host: str
    network: str


class KadServer:
    """The serving side of one node. `addresses_of` are those that are known of a peer, `turn` waits for its turn."""

    def __init__(
        self,
        table: KadTable,
        records: ProviderRecords,
        requests: TokenBuckets,
        refused: Refusals,
        *,
        asker_of: Callable[[ID], Asker],
        addresses_of: Callable[[bytes], list[Any]],
        met: Callable[[Asker], None],
        turn: Callable[[Asker], Awaitable[None]],
    ) -> None:
        self._table = table
        self._records = records
        self._requests = requests
        self._refused = refused
        self._asker_of = asker_of
        self._addresses_of = addresses_of
        self._met = met
        self._turn = turn

    async def handle(self, stream: Any) -> None:
        """Answer what comes on a stream, until it ends, errs, or nothing comes for too long."""
        asker = self._asker_of(stream.muxed_conn.peer_id)
        self._met(asker)
        answered = False
        try:
            while True:
                with trio.fail_after(_STREAM_S):
                    message = await wire.read_message(stream, wire.REQUEST_BYTES_MAX)
                if not self._requests.take(asker.network or asker.peer_id, 1, int(trio.current_time() * 1_000_000)):
                    raise _RefusedError("DHT: requests")
                await self._turn(asker)
                with trio.fail_after(_STREAM_S):
                    await wire.write_message(stream, self._answer(message, asker))
                answered = True
        except wire.EndedError:
            await stream.close()
            return
        except trio.TooSlowError:
            if not answered:  # others keep a stream for their next question
                self._refused.note("DHT: silent", asker.peer_id)
        except ProtocolError:
            self._refused.note("DHT: message", asker.peer_id)
        except _RefusedError as error:
            self._refused.note(error.reason, asker.peer_id)
        await stream.reset()

    def _answer(self, message: Any, asker: Asker) -> Any:
        """Return the answer; raises _RefusedError for what is not done here."""
        kind, key = message.type, message.key
        if kind == wire.PING:
            return wire.request(wire.PING, b"")
        if kind == wire.PUT_VALUE:
            raise _RefusedError("DHT: value")
        if not 0 < len(key) <= KEY_BYTES_MAX:
            raise _RefusedError("DHT: message")
        if kind == wire.ADD_PROVIDER:
            self._add_provider(key, message, asker)
            return wire.request(wire.ADD_PROVIDER, key)
        answer = wire.request(kind, key)
        if kind == wire.GET_PROVIDERS:
            for provider in self._records.get(key, trio.current_time())[:PROVIDERS_TOLD_MAX]:
                wire.add_peer(answer.providerPeers, provider.peer, provider.addresses)
        for peer in self._table.closest(key):
            if peer != asker.peer.to_bytes():
                addresses = [address.to_bytes() for address in self._addresses_of(peer)]
                wire.add_peer(answer.closerPeers, peer, addresses[:ADDRESSES_MAX])
        return answer

    def _add_provider(self, key: bytes, message: Any, asker: Asker) -> None:
        """Keep that the asker itself provides a key; nobody can say it of others."""
        own = asker.peer.to_bytes()
        entry = next((peer for peer in message.providerPeers[:K] if peer.id == own), None)
        if entry is None:
            raise _RefusedError("DHT: record")
        addresses = wire.told_addresses(entry.addrs, asker.host)
        if not addresses:
            raise _RefusedError("DHT: no address")
        provider = Provider(own, tuple(address.to_bytes() for address in addresses))
        if not self._records.put(key, provider, asker.network, trio.current_time()):
            raise _RefusedError("DHT: no place")


class _RefusedError(Exception):
    """What a peer asked for is refused; the reason is the name of a counter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
