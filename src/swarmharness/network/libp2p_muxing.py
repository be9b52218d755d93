"""Puts our own Yamux where libp2p would make its own, and shows its streams as byte streams; it reads no frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from libp2p.abc import IMuxedConn, ISecureConn
from libp2p.custom_types import TProtocol
from libp2p.io.exceptions import IOException
from libp2p.peer.id import ID
from libp2p.protocol_muxer.exceptions import MultiselectError
from libp2p.stream_muxer.exceptions import MuxedConnError, MuxedStreamError
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_ID
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

from swarmharness.address_prefixes import shared_network
from swarmharness.network.libp2p_yamux import YamuxConnection
from swarmharness.network.libp2p_yamux_stream import YamuxStream
from swarmharness.network.yamux_node import YamuxNode

_BROKEN = (MuxedStreamError, MuxedConnError, IOException, OSError)


class YamuxUpgrader(TransportUpgrader):  # type: ignore[misc]
    """Agrees on Yamux. A stranger shares its turns with its network, a `known` peer with nobody."""

    def __init__(self, security: dict[TProtocol, Any], node: YamuxNode, known: Callable[[str], bool]) -> None:
        super().__init__(security, {TProtocol(YAMUX_ID): YamuxConnection})
        self._node = node
        self._known = known

    async def upgrade_connection(self, conn: ISecureConn, peer_id: ID) -> IMuxedConn:
        """See `TransportUpgrader`."""
        try:
            await self.muxer_multistream.select_transport(conn)
        except MultiselectError as error:
            raise MuxerUpgradeFailure("no muxer was agreed on") from error
        peer = peer_id.to_base58()
        known = self._known(peer)
        link = getattr(conn, "link", None)
        host = link.remote_host if link is not None and not known else ""
        network = shared_network(host, loopback=self._node.limits.loopback)
        return YamuxConnection(conn, peer_id, self._node, group=network or peer, known=known)


class PeerStream:
    """A libp2p stream as a `ByteStream` and `BulkStream`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._muxed: YamuxStream = stream.muxed_stream

    def heard_s(self) -> float:
        """Return when anything came from the peer last, on whatever stream."""
        return self._muxed.muxed_conn.heard_s

    async def send_all(self, data: bytes) -> None:
        """See `ByteStream`."""
        try:
            await self._muxed.send(data)
        except _BROKEN as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def receive_some(self, max_bytes: int) -> bytes:
        """See `ByteStream`."""
        try:
            return await self._muxed.receive(max_bytes)
        except _BROKEN as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def aclose(self) -> None:
        """See `ByteStream`."""
        try:
            await self._stream.close()
        except _BROKEN as error:
            raise trio.BrokenResourceError(str(error)) from error

    async def reset(self) -> None:
        """See `BulkStream`."""
        await self._stream.reset()
