"""Builds the one libp2p host of a node, with this project's choices and the gate by peer id; it runs nothing itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import libp2p.crypto.serialization as libp2p_keys
import libp2p.network.connection.swarm_connection as libp2p_connection
import libp2p.network.swarm as libp2p_swarm
import trio
from libp2p import create_new_x25519_key_pair
from libp2p.abc import IRawConnection, ISecureConn
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.keys import KeyPair, KeyType, PrivateKey
from libp2p.network.auto_connector import AutoConnector
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.security.exceptions import HandshakeFailure
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_ID
from libp2p.security.noise.transport import Transport as Noise
from libp2p.security.pnet.psk_conn import PskConn
from libp2p.security.secure_session import SecureSession
from multiaddr import Multiaddr

from swarmharness.identity import Identity
from swarmharness.network.fair_turns import FairTurns
from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_fenced_host import FencedHost
from swarmharness.network.libp2p_lean import LeanSession
from swarmharness.network.libp2p_lines import install_lines
from swarmharness.network.libp2p_link import Link
from swarmharness.network.libp2p_links import Links
from swarmharness.network.libp2p_muxing import YamuxUpgrader
from swarmharness.network.libp2p_peer_store import BookedPeerStore
from swarmharness.network.libp2p_transports import WatchedTcp, WatchedWebsocket
from swarmharness.network.libp2p_websocket import install_websocket
from swarmharness.network.settings import NetworkSettings
from swarmharness.network.yamux_node import YamuxNode
from swarmharness.refusals import Refusals


class Gate(Noise):  # type: ignore[misc]
    """Noise that lets a connection live only if the peer at its other end is permitted (invariant N-1).

    Both directions pass here before a stream can exist, whoever asked for the connection: a caller, the DHT, or the
    peer. It also keeps the links of each peer, so that a peer can be cut off at once.
    """

    def __init__(
        self,
        key_pair: KeyPair,
        noise_key: PrivateKey,
        links: Links,
        *,
        permits: Callable[[str], bool],
        known: Callable[[str], bool],
    ) -> None:
        super().__init__(key_pair, noise_key)
        self._all = links
        self._permits = permits
        self._known = known
        self._links: dict[str, set[Link]] = {}
        self.left: Callable[[str], None] = lambda peer: None
        """Called when the last connection to a peer is gone."""

    async def secure_inbound(self, conn: IRawConnection) -> ISecureConn:
        """See `ISecureTransport`."""
        return await self._pass(conn, await super().secure_inbound(conn))

    async def secure_outbound(self, conn: IRawConnection, peer_id: ID) -> ISecureConn:
        """See `ISecureTransport`."""
        return await self._pass(conn, await super().secure_outbound(conn, peer_id))

    async def _pass(self, conn: Any, secured: ISecureConn) -> ISecureConn:
        peer, link = secured.get_remote_peer().to_base58(), link_of(conn)
        if not self._permits(peer):
            if link is not None:
                self._all.exclude(link)
            raise HandshakeFailure(f"the access rules exclude {peer}")
        if link is not None:
            if not await self._all.secured(link, peer, known=self._known(peer)):
                raise HandshakeFailure("this node has no place for one more connection")
            self._links.setdefault(peer, set()).add(link)
            link.when_closed(lambda: self._forget(peer, link))
        if isinstance(secured, SecureSession):
            secured = LeanSession(secured, conn, None if isinstance(conn, PskConn) else link)
            secured.link = link
        return secured

    def peers(self) -> list[str]:
        """Return the peers with a connection, whether or not they have a channel."""
        return list(self._links)

    def has(self, peer: str) -> bool:
        """Tell whether a peer has a connection."""
        return peer in self._links

    def host_of(self, peer: str) -> str:
        """Return the address from which a peer is connected, if it is."""
        return next((link.remote_host for link in self._links.get(peer, ())), "")

    async def cut(self, peer: str) -> None:
        """Close every connection of a peer without a word."""
        for link in list(self._links.get(peer, ())):
            await link.cut()

    def _forget(self, peer: str, link: Link) -> None:
        links = self._links.get(peer, set())
        links.discard(link)
        if not links and self._links.pop(peer, None) is not None:
            self.left(peer)


class NoAutoConnector(AutoConnector):  # type: ignore[misc]
    """Does nothing: with any watermark that also stops pruning, libp2p's own would dial everybody it knows of."""

    async def run_background_task(self, nursery: trio.Nursery) -> None:
        """Start nothing."""

    async def maybe_connect(self) -> None:
        """Dial nobody."""


def link_of(conn: Any) -> Link | None:
    """Return the `Link` under a raw connection, with or without a pre-shared key; None if libp2p's insides changed."""
    stream = getattr(getattr(conn, "_conn", conn), "stream", None)
    return stream if isinstance(stream, Link) else None


def tune_libp2p(*, verbose: bool) -> None:
    """Change what libp2p 0.8.1 keeps in modules: a needless wait of 250 ms in every dial, lines and WebSockets
    without end, kinds of keys that no peer id here has, and its logging.

    The names are private; `test_libp2p_canary.py` fails when they go away.
    """
    libp2p_swarm._HAPPY_EYEBALLS_DELAY = 0.0
    install_lines()
    install_websocket()
    for kind in (KeyType.RSA, KeyType.Secp256k1):  # a signature under a chosen RSA key takes 20 ms to check
        libp2p_keys.key_type_to_public_key_deserializer.pop(kind.value, None)
    level = logging.DEBUG if verbose else logging.CRITICAL
    for name in ("libp2p", "multiaddr", "trio-websocket"):
        logging.getLogger(name).setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("libp2p."):
            logging.getLogger(name).setLevel(level)
    # this module logs through the root logger, which would install a handler that writes to stderr
    libp2p_connection.logging = logging.getLogger("libp2p.network.connection")


@dataclass(frozen=True, slots=True)
class BuiltHost:
    """A host that is not running yet, and what it is made of."""

    host: FencedHost
    gate: Gate
    links: Links
    book: BookedPeerStore
    fence: Fence
    turns: FairTurns

    async def run(self, listen: Sequence[str], listening: Callable[[], None]) -> None:
        """Run until cancelled, or raise what ends libp2p's own network; it may run again then.

        `listening` is called when it has tried to listen on every address.
        """
        swarm: Any = self.host.get_network()
        await self.links.cut_all()
        swarm.connections.clear()
        swarm.listeners.clear()
        swarm.event_background_nursery_created = trio.Event()
        async with self.fence.service(swarm):
            await swarm.listen(*(Multiaddr(address) for address in listen))
            listening()
            await trio.sleep_forever()


def build_host(
    identity: Identity,
    settings: NetworkSettings,
    permits: Callable[[str], bool],
    addresses: Callable[[], tuple[str, ...]],
    refused: Refusals,
    known: Callable[[str], bool],
) -> BuiltHost:
    """Return a host that announces what `addresses` returns.

    `refused` hears of what fails in libp2p and of connections that have no place; some places are for `known` peers.
    """
    tune_libp2p(verbose=settings.verbose)
    key_pair = create_new_key_pair(identity.seed)
    own_id = ID.from_pubkey(key_pair.public_key)
    limits = settings.limits
    fence, turns = Fence(refused), FairTurns(limits.turn_ms / 1000)
    links = Links(limits, refused, turns)
    gate = Gate(key_pair, create_new_x25519_key_pair().private_key, links, permits=permits, known=known)
    refused.host_of = gate.host_of
    # `Links` is who refuses. libp2p counts what was cut until all its tasks have ended, and would turn others away.
    connections_max = 4 * (limits.connections_max + limits.half_open_max)
    book = BookedPeerStore(
        own_id,
        key_pair,
        peers_max=limits.peers_remembered_max,
        pinned=[ID.from_base58(peer) for peer in settings.configured],
        connected=lambda peer_id: gate.has(peer_id.to_base58()),
    )
    gate.left = lambda peer: book.left(ID.from_base58(peer))
    upgrader = YamuxUpgrader({NOISE_ID: gate}, YamuxNode(limits, turns, refused.note), known)
    swarm = Swarm(
        own_id,
        book,
        upgrader,
        [WatchedTcp(links, fence), WatchedWebsocket(upgrader, links, fence)],
        retry_config=RetryConfig(max_retries=0),
        connection_config=ConnectionConfig(
            max_connections=connections_max,
            min_connections=0,
            low_watermark=connections_max,
            high_watermark=connections_max,
            dial_timeout=settings.dial_timeout_s,
            inbound_upgrade_timeout=settings.dial_timeout_s,
            outbound_upgrade_timeout=settings.dial_timeout_s,
        ),
        psk=settings.psk_hex or None,
    )
    swarm.auto_connector = NoAutoConnector(swarm)
    host = FencedHost(
        swarm,
        fence,
        links,
        settings.streams,
        refused,
        addrs_factory=lambda bound: [Multiaddr(address) for address in addresses()],
        disable_identify_address_discovery=True,
    )
    return BuiltHost(host, gate, links, book, fence, turns)
