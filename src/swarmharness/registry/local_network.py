"""Looks for nodes on the local network, and is found there, for as long as a node runs; how it looks is given to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from swarmharness.errors import UnavailableError
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress, Transport
from swarmharness.registry.joining import Joining

LanDiscovery = Callable[[PeerId, Sequence[str]], AbstractAsyncContextManager[trio.MemoryReceiveChannel[PeerAddress]]]
"""Announces a node at its addresses, and yields the channel on which others arrive; raises UnavailableError."""

_SUBJECT = "mdns"


class LocalNetwork:
    """Attempts to join whoever is found; what does not work is a problem of `joining` until it works."""

    def __init__(self, lan: LanDiscovery, transport: Transport, joining: Joining) -> None:
        self._lan = lan
        self._transport = transport
        self._joining = joining
        self._moved = trio.Event()

    def look_anew(self) -> None:
        """Hear that the addresses of this node changed."""
        moved, self._moved = self._moved, trio.Event()
        moved.set()

    async def run(self, nursery: trio.Nursery) -> None:
        """Look until cancelled; after `look_anew` with the addresses and interfaces that there are then."""
        while True:
            moved = self._moved
            async with trio.open_nursery() as looking:
                looking.start_soon(self._look, nursery)
                await moved.wait()
                looking.cancel_scope.cancel()

    async def _look(self, nursery: trio.Nursery) -> None:
        try:
            async with self._lan(self._transport.peer_id, self._transport.addresses) as arrivals:
                self._joining.solved(_SUBJECT)
                async for peer in arrivals:
                    nursery.start_soon(self._joining.attempt, [peer])
        except UnavailableError as error:
            self._joining.report(_SUBJECT, str(error))
