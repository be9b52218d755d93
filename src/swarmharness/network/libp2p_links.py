"""All connections of a node, from the socket on, and the places that they take; it decides none of it itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Hashable
from contextlib import asynccontextmanager

import trio

from swarmharness.address_prefixes import shared_network
from swarmharness.network.fair_turns import FairTurns
from swarmharness.network.libp2p_link import Link, remote_host
from swarmharness.network.limits import Drop, Limits, Places
from swarmharness.refusals import Refusals

_WATCH_S = 1.0
_HANDSHAKE_TURNS = 2
"""What a handshake costs: a crowd that comes and goes is let in as fast as others are read."""


class Links:
    """Every open connection of a node, also those that have not shaken hands yet, and the places that they take."""

    def __init__(self, limits: Limits, refused: Refusals, turns: FairTurns) -> None:
        self._open: dict[Hashable, Link] = {}
        self._streams: dict[Hashable, trio.SocketStream] = {}
        self._places = Places(limits)
        self._refused = refused
        self._turns = turns
        self._loopback = limits.loopback

    def __len__(self) -> int:
        return len(self._open)

    def counts(self) -> dict[str, int]:
        """Return how many connections there are, by stage."""
        return self._places.counts()

    @asynccontextmanager
    async def accepted(self, stream: trio.SocketStream) -> AsyncIterator[bool]:
        """Hold a place for what was accepted; yields False if there is none, and then it has to be closed."""
        host = remote_host(stream)
        drop, victim = self._places.arrive(stream, host, trio.current_time())
        if drop is None:
            self._streams[stream] = stream
            if victim is not None:
                await self.drop(victim, Drop.HALF_OPEN)
        else:
            self._refused.note(drop, host=host)
        try:
            if drop is None:
                group = shared_network(host, loopback=self._loopback) or host
                await self._turns.take(group, known=False, turns=_HANDSHAKE_TURNS)
                self._places.begun(stream, trio.current_time())
            yield drop is None
        finally:
            self._streams.pop(stream, None)
            self._left(stream)

    def add(self, link: Link) -> Link:
        """Keep a link until it is closed; one that was not accepted was dialled."""
        self._open[link.key] = link
        if link.key not in self._streams:
            self._places.dialled(link.key, "", trio.current_time())
        link.when_closed(lambda: self._forget(link.key))
        return link

    async def secured(self, link: Link, peer_id: str, *, known: bool) -> bool:
        """Note who is at the other end; returns whether the connection may stay."""
        drop, victim = self._places.secured(link.key, peer_id, trio.current_time(), known=known)
        if drop is not None:
            self._note(link.key, drop)
        if victim is not None:
            await self.drop(victim, Drop.FULL)
        if drop is None:
            link.when_secured()
        return drop is None

    def exclude(self, link: Link) -> None:
        """Note that a connection goes because of who is at the other end: that is counted elsewhere."""
        self._places.leave(link.key)

    def used(self, link: Link) -> None:
        """Note that something of use goes by a connection."""
        self._places.used(link.key, trio.current_time())

    def serves(self, peer_id: str, *, by: int) -> None:
        """Note that a peer has one channel more (1) or less (-1)."""
        self._places.serves(peer_id, by=by)

    async def watch(self) -> None:
        """Give up connections that have had their time, until cancelled."""
        while True:
            await trio.sleep(_WATCH_S)
            for key, drop in self._places.overdue(trio.current_time()):
                await self.drop(key, drop)

    async def cut_all(self) -> None:
        """Close every connection at once."""
        for key in [*self._open, *self._streams]:
            await self._cut(key)

    async def cut_strangers(self, hosts: Collection[str]) -> None:
        """Close the connections by an address that is not among `hosts`: nothing arrives there any more."""
        for link in list(self._open.values()):
            if link.local_host and link.local_host not in hosts:
                await link.cut()

    async def drop(self, key: Hashable, drop: Drop) -> None:
        """Give up a connection."""
        if drop is not Drop.IDLE:
            self._note(key, drop)
        self._places.leave(key)
        await self._cut(key)

    async def _cut(self, key: Hashable) -> None:
        link = self._open.get(key)
        if link is not None:
            await link.cut()
        elif key in self._streams:
            await trio.aclose_forcefully(self._streams[key])

    def _note(self, key: Hashable, drop: Drop) -> None:
        peer_id, host = self._places.whose(key)
        self._refused.note(drop, peer_id, host=host)

    def _forget(self, key: Hashable) -> None:
        self._open.pop(key, None)
        self._left(key)

    def _left(self, key: Hashable) -> None:
        """Note the end of a connection that this node did not give up."""
        if self._places.is_shaking_hands(key):
            self._note(key, Drop.BROKEN)
        self._places.leave(key)
