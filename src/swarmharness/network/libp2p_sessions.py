"""Opens, accepts, restores and retires the channels of a libp2p host; it knows nothing of what is said on them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from swarmharness.errors import DeadlineError, PeerLostError, ProtocolError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.log_lines import by_peers
from swarmharness.network.background import Background
from swarmharness.network.bulk import BulkExchange, BulkStream
from swarmharness.network.channel import DUPLICATE, Channel
from swarmharness.network.handlers import Handlers, Refuse
from swarmharness.network.libp2p_dial import Dialler
from swarmharness.network.libp2p_links import Links
from swarmharness.network.libp2p_muxing import PeerStream
from swarmharness.network.libp2p_streams import BULK_PROTOCOL, CHANNEL_PROTOCOL
from swarmharness.network.peers import Peers
from swarmharness.network.room import PeerRoom, Room
from swarmharness.network.settings import NetworkSettings
from swarmharness.network.turns import Turns
from swarmharness.ports import Randomness
from swarmharness.refusals import TWIN_REMEDY, Reason, Refusals

_LOG = logging.getLogger(__name__)
_RETIRE_S = 1.0
_RESET_S = 0.2
_ECHO_S = 1.0
_TWIN_FAREWELL = "another node with your key has connected"
_TWIN_REST_S = 30.0
"""So long a peer is left to the other node with this node's key, or both would push each other out without end."""


class Sessions:
    """One session, which is mostly one channel, with each peer. `permits` counts what it excludes."""

    def __init__(
        self,
        dialler: Dialler,
        own_id: PeerId,
        settings: NetworkSettings,
        handlers: Handlers,
        randomness: Randomness,
        *,
        permits: Callable[[str], bool],
        known: Callable[[str], bool],
        refused: Refusals,
        links: Links,
        cut: Callable[[PeerId], Awaitable[None]],
    ) -> None:
        self.peers = Peers(own_id)
        self.dialler = dialler
        self.background = Background()
        self.stopping = False
        self._settings = settings
        self._handlers = handlers
        self._randomness = randomness
        self._permits = permits
        self._known = known
        self._refused = refused
        self._links = links
        self._cut = cut
        self._left_until_s: dict[PeerId, float] = {}
        self._bulk: dict[PeerId, _SharedBulk] = {}
        self._room = Room(settings.limits, settings.bulk.memory_bytes_max)
        self._dials: dict[PeerId, _Dial] = {}
        self._dialling = Turns(settings.limits.dials_max)
        self._reconnecting = Turns(settings.limits.reconnects_max)

    async def channel_to(self, peer_id: PeerId, timeout_s: float) -> Channel:
        """Return the peer's channel, opening it if need be; concurrent callers share one dial.

        Raises PeerLostError, RefusedError or DeadlineError.
        """
        self._check_permitted(peer_id)
        channel = self.peers.channel(peer_id)
        if channel is not None:
            return channel
        if trio.current_time() < self._left_until_s.get(peer_id, 0):
            raise PeerLostError(f"{peer_id} is left alone for {_TWIN_REST_S:g} s: {_TWIN_FAREWELL}; {TWIN_REMEDY}")
        dial = self._dials.get(peer_id)
        if dial is None:
            dial = self._dials[peer_id] = _Dial()
            self.background.nursery.start_soon(self._dial, peer_id, dial)
        opened = await dial.wait(timeout_s, peer_id)
        return self.peers.channel(peer_id) or opened  # the peer may have dialled meanwhile

    # -- opening ----------------------------------------------------------------------------------------------------

    async def _dial(self, peer_id: PeerId, dial: _Dial) -> None:
        dial.error = PeerLostError("this node is stopping")
        try:
            async with self._dialling:
                dial.channel = await self._open_channel(peer_id)
        except SwarmError as error:
            dial.error = error
        except Exception as error:  # libp2p raises many kinds; none may end the node
            _LOG.warning("opening a channel to %s failed", peer_id, exc_info=error, extra=by_peers())
            dial.error = PeerLostError(f"cannot reach {peer_id}: {type(error).__name__}")
        finally:
            del self._dials[peer_id]
            dial.done.set()

    async def _open_channel(self, peer_id: PeerId) -> Channel:
        if self.stopping:
            raise PeerLostError("this node is stopping")
        self._check_permitted(peer_id)
        stream = await self.dialler.open_stream(peer_id, CHANNEL_PROTOCOL)
        present = self.peers.channel(peer_id)
        if present is not None:  # the peer was faster
            await stream.reset()
            return present
        channel: Channel = await self.background.nursery.start(self._run_opened, stream, peer_id)
        return channel

    async def _run_opened(self, stream: Any, peer_id: PeerId, *, task_status: trio.TaskStatus[Channel]) -> None:
        started = False

        def note(channel: Channel) -> None:
            nonlocal started
            started = True
            task_status.started(channel)

        try:
            await self._run(stream, peer_id, opened_here=True, started=note)
        except Exception as error:
            if not started:
                raise
            _LOG.error("the channel to %s failed", peer_id, exc_info=error, extra=by_peers())

    async def on_channel_stream(self, stream: Any) -> None:
        """Serve a channel that the peer opened; runs in a task of libp2p, so no exception may escape."""
        peer_id = PeerId(stream.muxed_conn.peer_id.to_base58())
        try:
            await self._run(stream, peer_id, opened_here=False, started=lambda channel: None)
        except SwarmError:
            pass  # the handshake failed, and that was counted
        except Exception as error:
            _LOG.error("the channel from %s failed", peer_id, exc_info=error, extra=by_peers())

    async def _run(
        self, stream: Any, peer_id: PeerId, *, opened_here: bool, started: Callable[[Channel], None]
    ) -> None:
        """Shake hands, tell `started`, and serve until the channel ends; raises what the handshake raises."""
        shared = self._bulk.get(peer_id)
        if shared is None:
            shared = self._bulk[peer_id] = self._new_bulk(peer_id)
        shared.users += 1
        byte_stream = PeerStream(stream)
        channel = Channel(
            byte_stream,
            peer_id,
            self._handlers,
            self._settings.channel,
            bulk=shared.bulk,
            room=shared.room,
            refuse=self._refuse_of(peer_id),
            heard_s=byte_stream.heard_s,
            first_request_id=self._randomness.below(2**32),
        )
        serving = False
        try:
            self._check_permitted(peer_id)
            await self._greet(channel)
            self._check_permitted(peer_id)  # the rules may have changed meanwhile
            again = not opened_here and self.peers.opened_there(peer_id)
            retired = self.peers.add(channel, opened_here=opened_here)
            channel.on_end = lambda: self._on_end(channel)
            serving = True
            self._links.serves(peer_id, by=1)
            started(channel)
            if retired is not None:
                self.background.nursery.start_soon(self._retire, retired, again)
            await channel.run()
        finally:
            self.peers.remove(channel)
            shared.users -= 1
            if not shared.users:
                del self._bulk[peer_id]
                shared.bulk.close(channel.end.reason if channel.end else "")
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _RESET_S):
                await stream.reset()
            if serving:
                self._links.serves(peer_id, by=-1)
                if peer_id not in self._bulk and peer_id not in self._dials:  # nor is another one being opened
                    await self._cut(peer_id)

    async def _greet(self, channel: Channel) -> None:
        try:
            await channel.handshake()
        except ProtocolError as error:  # which was counted
            self._refused.tell(Reason.HELLO, channel.peer_id, f"{channel.peer_id}: {error}")
            raise
        self._refused.solved(Reason.HELLO, channel.peer_id)

    async def _retire(self, channel: Channel, again: bool) -> None:
        """Close a duplicate when both sides have had time to see that it is one.

        Who opens a channel `again` has lost the one before. If that one still answers, it leads to another node.
        """
        await trio.sleep(_RETIRE_S)
        if not again or not await channel.answers(_ECHO_S):
            channel.retire()
            return
        peer_id = channel.peer_id
        self._refused.note(Reason.TWIN, peer_id, f"two nodes use the key of {peer_id} at the same time: {TWIN_REMEDY}")
        channel.close(_TWIN_FAREWELL)

    # -- losing -----------------------------------------------------------------------------------------------------

    def _on_end(self, channel: Channel) -> None:
        gone, end = self.peers.end(channel), channel.end
        if not gone or end is None or self.stopping:
            return
        if end.reason == _TWIN_FAREWELL:
            self._heard_of_twin(channel.peer_id)
        # A peer that says "duplicate" of the only channel holds one for alive that is dead here.
        if not end.farewell or end.reason == DUPLICATE:
            self.background.nursery.start_soon(self._reconnect, channel.peer_id)

    def _heard_of_twin(self, peer_id: PeerId) -> None:
        text = f"{peer_id} says that another node uses this node's key: {TWIN_REMEDY}"
        self._refused.note(Reason.TWIN, "", text)
        now_s = trio.current_time()
        self._left_until_s = {peer: until_s for peer, until_s in self._left_until_s.items() if until_s > now_s}
        self._left_until_s[peer_id] = now_s + _TWIN_REST_S

    async def _reconnect(self, peer_id: PeerId) -> None:
        """Try to get a lost peer back, less and less often, then forget it; few at a time, however many were lost."""
        settings = self._settings
        for attempt in range(settings.reconnect_attempts):
            delay_s = min(settings.reconnect_first_s * 2**attempt, settings.reconnect_most_s)
            await trio.sleep(delay_s * (0.5 + self._randomness.below(1000) / 1000))
            async with self._reconnecting:
                if self.stopping or not self._permits(peer_id) or self.peers.channel(peer_id) is not None:
                    return
                with suppress(SwarmError):
                    await self.channel_to(peer_id, settings.dial_timeout_s)
                    return

    # -- bulk -------------------------------------------------------------------------------------------------------

    def _new_bulk(self, peer_id: PeerId) -> _SharedBulk:
        async def open_stream() -> BulkStream:
            try:
                return PeerStream(await self.dialler.open_beside(peer_id, BULK_PROTOCOL))
            except PeerLostError as error:
                raise trio.BrokenResourceError(str(error)) from error

        room = self._room.peer(lambda: self._known(peer_id))
        bulk = BulkExchange(open_stream, self._settings.bulk, room.bytes, self._refuse_of(peer_id))
        return _SharedBulk(bulk, room)

    async def on_bulk_stream(self, stream: Any) -> None:
        """Give a payload's stream to whoever expects it; runs in a task of libp2p, so no exception may escape."""
        peer_id = PeerId(stream.muxed_conn.peer_id.to_base58())
        shared = self._bulk.get(peer_id)
        try:
            if shared is not None and self._permits(peer_id):
                await shared.bulk.accept(PeerStream(stream))
            else:
                self._refused.note("bulk stream", peer_id)
                await stream.reset()
        except Exception as error:
            _LOG.error("a bulk stream of %s failed", peer_id, exc_info=error, extra=by_peers())

    def _refuse_of(self, peer_id: PeerId) -> Refuse:
        return lambda reason: self._refused.note(reason, peer_id)

    def _check_permitted(self, peer_id: PeerId) -> None:
        if not self._permits(peer_id):
            raise RefusedError(f"the access rules of this node exclude {peer_id}")


class _SharedBulk:
    """A peer's room and what moves its large payloads: one for all its channels, which may be two for a moment."""

    def __init__(self, bulk: BulkExchange, room: PeerRoom) -> None:
        self.bulk = bulk
        self.room = room
        self.users = 0


class _Dial:
    """One attempt to open a channel, shared by everybody who wants it."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.channel: Channel | None = None
        self.error: SwarmError | None = None

    async def wait(self, timeout_s: float, peer_id: PeerId) -> Channel:
        with trio.move_on_after(timeout_s):
            await self.done.wait()
        if self.channel is not None:
            return self.channel
        if self.done.is_set() and self.error is not None:
            raise type(self.error)(str(self.error))
        raise DeadlineError(f"{peer_id} could not be reached within {timeout_s:g} s")
