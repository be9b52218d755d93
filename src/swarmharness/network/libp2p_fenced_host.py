"""libp2p's host, whose handlers and tasks end nothing but what they belong to, and whose streams have places (X-1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
from libp2p.abc import INetStream
from libp2p.custom_types import StreamHandlerFn, TProtocol
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify.identify import ID as IDENTIFY_PROTOCOL
from libp2p.kad_dht.common import PROTOCOL_ID as KAD_PROTOCOL
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError

from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_introductions import Introductions
from swarmharness.network.libp2p_lines import Lines
from swarmharness.network.libp2p_links import Links
from swarmharness.network.libp2p_streams import BULK_PROTOCOL, CHANNEL_PROTOCOL, Negotiated, StreamServer
from swarmharness.network.stream_places import Kind, StreamLimits
from swarmharness.refusals import Refusals

_CLOSE_S = 1.0
_OF_USE = frozenset({CHANNEL_PROTOCOL, BULK_PROTOCOL, KAD_PROTOCOL})
"""Protocols for which a connection is kept: not ping, not identify, and not broadcasts, which every peer offers."""


class FencedHost(BasicHost):  # type: ignore[misc]
    """Use as libp2p's; `limits` are those of the streams that peers open."""

    def __init__(
        self,
        swarm: Swarm,
        fence: Fence,
        links: Links,
        limits: StreamLimits,
        refused: Refusals,
        **more: Any,
    ) -> None:
        self._fence = fence
        self._all = links
        self.streams = StreamServer(limits, refused, self._negotiate)
        self._handle = fence.stream_handler(self.streams.serve)
        super().__init__(swarm, **more)
        self._introductions = Introductions(self, limits, self.streams.refuse, self.streams.note)
        self._identify_timeout_s = limits.identify_timeout_s
        for protocol_id, handler in self._introductions.handlers().items():
            self.set_stream_handler(protocol_id, handler)

    async def _swarm_stream_handler(self, net_stream: INetStream) -> None:
        await self._handle(net_stream)

    async def _negotiate(self, stream: INetStream) -> Negotiated:
        lines = Lines(stream)
        try:
            agreed: Negotiated = await self.multiselect.negotiate(lines)
        except MultiselectError as error:
            if lines.ended:
                raise trio.BrokenResourceError("the peer has ended the stream") from error
            raise
        return agreed

    def set_stream_handler(self, protocol_id: TProtocol, stream_handler: StreamHandlerFn) -> None:
        """Serve a protocol; a connection on which somebody speaks one that is of use here is kept a while."""

        async def handle(stream: INetStream) -> None:
            self._note_use(stream)
            try:
                await stream_handler(stream)
            finally:
                self._note_use(stream)

        super().set_stream_handler(protocol_id, handle if protocol_id in _OF_USE else stream_handler)

    async def new_stream(self, peer_id: ID, protocol_ids: Sequence[TProtocol]) -> INetStream:
        """See `IHost`."""
        stream = await super().new_stream(peer_id, protocol_ids)
        if not _OF_USE.isdisjoint(protocol_ids):
            self._note_use(stream)
        return stream

    def _note_use(self, stream: Any) -> None:
        link = getattr(getattr(stream.muxed_conn, "secured_conn", None), "link", None)
        if link is not None:
            self._all.used(link)

    async def _identify_peer(self, peer_id: ID, *, reason: str) -> None:
        """Ask a peer who it is; runs as a task of the event loop itself, which ends with whatever escapes."""
        with self._fence.around("task", "identify"), trio.move_on_after(self._identify_timeout_s):
            connection: Any = self._get_first_connection(peer_id)
            if connection is None:
                return
            await connection.event_started.wait()
            stream = await self.new_stream(peer_id, [IDENTIFY_PROTOCOL])
            try:
                learned = await self._introductions.learn(stream, peer_id, Kind.IDENTIFY)
                if learned and self._network.get_connections(peer_id):
                    self._identified_peers[peer_id] = reason
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_S):
                    await stream.reset()
