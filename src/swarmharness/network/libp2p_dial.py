"""Finds a way to a peer: tries its addresses within bounds and opens streams; it remembers none of them itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from libp2p.custom_types import TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from libp2p.peer.peerstore import PeerStoreError
from libp2p.transport.exceptions import OpenConnectionError
from multiaddr import Multiaddr

from swarmharness.errors import PeerLostError, cause_text, leaf
from swarmharness.identity import PeerId, parse_peer_id
from swarmharness.network.addresses import without_peer
from swarmharness.network.libp2p_peer_store import BookedPeerStore, parsed

_STAGGER_S = 0.3


class Dialler:
    """Tries the addresses that the peer book holds."""

    def __init__(self, host: BasicHost, book: BookedPeerStore, timeout_s: float) -> None:
        self._host = host
        self._book = book
        self._network: Any = host.get_network()
        self._timeout_s = timeout_s

    def remember(self, peer_id: PeerId, addresses: Sequence[str]) -> None:
        """Add addresses, newest first, up to a limit; malformed ones are left out."""
        good = parsed(addresses)
        if good:
            self._book.remember(ID.from_base58(parse_peer_id(peer_id)), good)

    async def open_stream(self, peer_id: PeerId, protocol: TProtocol) -> Any:
        """Return a stream to the peer, dialling if there is no connection; raises PeerLostError."""
        parse_peer_id(peer_id)
        target = ID.from_base58(peer_id)
        if self._network.get_connections(target):
            stream = await self._try_stream(target, protocol)
            if stream is not None:
                return stream
        await self._dial(peer_id, target)
        stream = await self._try_stream(target, protocol)
        if stream is None:
            raise PeerLostError(f"{peer_id} closed the connection: it may not allow this node, or is overloaded")
        return stream

    async def open_beside(self, peer_id: PeerId, protocol: TProtocol) -> Any:
        """Return one more stream to a connected peer; raises PeerLostError."""
        stream = await self._try_stream(ID.from_base58(peer_id), protocol)
        if stream is None:
            raise PeerLostError(f"{peer_id} takes no further stream")
        return stream

    async def _try_stream(self, target: ID, protocol: TProtocol) -> Any | None:
        with trio.move_on_after(self._timeout_s):
            try:
                return await self._host.new_stream(target, [protocol])
            except Exception:  # libp2p raises many kinds, and all mean that there is no stream
                return None
        return None

    async def _dial(self, peer_id: PeerId, target: ID) -> None:
        """Try all addresses, the next one as soon as one fails or hesitates; the first connection wins."""
        addresses = self._known(target)
        if not addresses:
            raise PeerLostError(f"no address of {peer_id} is known: join with its invite or its multiaddr")
        self._network.unblock_peer(target)  # a failed dial would block the peer for a minute
        connected = False
        failures: list[str] = []
        async with trio.open_nursery() as nursery:

            async def attempt(address: str, failed: trio.Event) -> None:
                nonlocal connected
                try:
                    with trio.fail_after(self._timeout_s):
                        await self._network.dial_addr(Multiaddr(address), target)
                except trio.TooSlowError:
                    failures.append(f"{address}: no answer in {self._timeout_s:g} s, or another pre-shared key")
                except Exception as error:  # as above
                    failures.append(f"{address}: {_reason(error)}")
                else:
                    connected = True
                    nursery.cancel_scope.cancel()
                failed.set()

            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(attempt, address, failed)
                with trio.move_on_after(_STAGGER_S):
                    await failed.wait()
        if not connected:
            raise PeerLostError(f"cannot reach {peer_id} ({'; '.join(failures[:4])})")

    def _known(self, target: ID) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(without_peer(str(address)) for address in self._book.addrs(target)))
        except PeerStoreError:
            return ()


def _reason(error: BaseException) -> str:
    """Say what went wrong: libp2p wraps the error that matters in several others."""
    connected, error = True, leaf(error)
    while error.__cause__ is not None:
        connected = connected and not isinstance(error, OpenConnectionError)
        error = leaf(error.__cause__)
    text = " ".join(cause_text(error).split())[:200]
    if connected and not isinstance(error, OpenConnectionError | OSError):
        return f"the handshake failed, it may have another pre-shared key or exclude this node ({text})"
    return text
