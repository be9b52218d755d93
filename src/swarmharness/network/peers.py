"""Which channel counts for each peer, and who is told when one comes or goes; it opens and closes no streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarmharness.identity import PeerId
from swarmharness.network.channel import Channel
from swarmharness.network.ports import PeerEvent

BOTH_DIALLED_S = 16.0
"""Two dials that began before either side had a channel end within so many seconds: 8 to dial, 8 to say hello."""


@dataclass(slots=True)
class _Entry:
    channel: Channel
    opened_here: bool
    added_s: float


class Peers:
    """The live channels. A peer may have several for a moment; calls use the current one."""

    def __init__(self, own_id: PeerId) -> None:
        self._own_id = own_id
        self._current: dict[PeerId, _Entry] = {}
        self._all: dict[PeerId, set[Channel]] = {}
        self._listeners: list[Callable[[PeerEvent], None]] = []
        self._changed = trio.Event()

    def channel(self, peer_id: PeerId) -> Channel | None:
        """Return the channel that calls to the peer use."""
        entry = self._current.get(peer_id)
        return None if entry is None else entry.channel

    def channels(self, peer_id: PeerId) -> tuple[Channel, ...]:
        """Return all channels to the peer, also those that only finish what is under way."""
        return tuple(self._all.get(peer_id, ()))

    def opened_there(self, peer_id: PeerId) -> bool:
        """Tell whether the peer opened the channel that calls to it use."""
        entry = self._current.get(peer_id)
        return entry is not None and not entry.opened_here

    def connected(self) -> tuple[PeerId, ...]:
        """Return the peers with a live channel."""
        return tuple(self._current)

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """Call `listener` on every change from now on."""
        self._listeners.append(listener)

    def add(self, channel: Channel, *, opened_here: bool) -> Channel | None:
        """Take a channel that has shaken hands; returns the one that has to go, which may be the new one itself.

        If both sides dialled at once, the stream opened by the smaller peer id stays, so both choose alike. If the
        peer opens again, it has lost the older stream (its address may have changed), and the newer one stays.
        """
        peer_id, now_s = channel.peer_id, trio.current_time()
        self._all.setdefault(peer_id, set()).add(channel)
        present = self._current.get(peer_id)
        if present is None:
            self._current[peer_id] = _Entry(channel, opened_here, now_s)
            self._tell(PeerEvent(peer_id, connected=True))
            return None
        both_dialled = present.opened_here != opened_here and now_s - present.added_s < BOTH_DIALLED_S
        smaller_is_here = self._own_id < peer_id
        if both_dialled and present.opened_here == smaller_is_here:
            return channel
        self._current[peer_id] = _Entry(channel, opened_here, now_s)
        return present.channel

    def end(self, channel: Channel) -> bool:
        """Use an ended channel no more and tell the listeners; returns whether the peer is gone with it."""
        entry = self._current.get(channel.peer_id)
        if entry is None or entry.channel is not channel:
            return False
        del self._current[channel.peer_id]
        reason = channel.end.reason if channel.end else ""
        self._tell(PeerEvent(channel.peer_id, connected=False, reason=reason))
        return True

    def remove(self, channel: Channel) -> None:
        """Forget a channel whose stream is closed, if it ever was added."""
        rest = self._all.get(channel.peer_id, set())
        rest.discard(channel)
        if not rest:
            self._all.pop(channel.peer_id, None)
        self._changed.set()
        self._changed = trio.Event()

    def close(self, peer_id: PeerId, reason: str) -> None:
        """Say goodbye on every channel to the peer."""
        for channel in self.channels(peer_id):
            channel.close(reason)

    def close_all(self, reason: str) -> None:
        """Say goodbye to everybody."""
        for peer_id in list(self._all):
            self.close(peer_id, reason)

    async def wait_until_gone(self, peer_id: PeerId) -> None:
        """Wait until no channel to the peer is left."""
        while peer_id in self._all:
            await self._changed.wait()

    async def wait_until_none(self) -> None:
        """Wait until no channel is left."""
        while self._all:
            await self._changed.wait()

    def _tell(self, event: PeerEvent) -> None:
        for listener in self._listeners:
            listener(event)
