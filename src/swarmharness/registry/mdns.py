"""Finds nodes on the local network by multicast DNS and answers others who look; off unless the configuration asks.

zeroconf works in threads of its own: what it finds is handed to trio through a bounded channel, and dropped when
the registry does not keep up. An answer is a hint from anyone on the network; the handshake proves the id.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import trio

from swarmharness.errors import ConfigurationError, UnavailableError, cause_text
from swarmharness.identity import PeerId
from swarmharness.network.ports import PeerAddress
from swarmharness.registry.invite import parse_join_target

if TYPE_CHECKING:
    from zeroconf import ServiceBrowser, Zeroconf

_LOG = logging.getLogger(__name__)
SERVICE_TYPE = "_swarmharness._tcp.local."
ADDRESSES_MAX = 8
_PENDING_MAX = 64
_RESOLVE_MS = 3000


def txt_properties(peer_id: PeerId, addresses: Sequence[str]) -> dict[str, str]:
    """Return the TXT record of a node: `dnsaddr`, `dnsaddr2`, … with full multiaddrs, as libp2p's mDNS has them."""
    texts = [f"{address}/p2p/{peer_id}" for address in addresses[:ADDRESSES_MAX]]
    return {"dnsaddr" if index == 0 else f"dnsaddr{index + 1}": text for index, text in enumerate(texts)}


def peer_in_txt(properties: Mapping[bytes, bytes | None]) -> PeerAddress | None:
    """Return the node that a TXT record names, or None if the record is not one of ours or contradicts itself."""
    peer_id: PeerId | None = None
    addresses: list[str] = []
    for name, value in sorted(properties.items()):
        if not name.startswith(b"dnsaddr") or value is None or len(addresses) >= ADDRESSES_MAX:
            continue
        try:
            peer = parse_join_target(value.decode(), now_unix_s=0).peer
        except (ConfigurationError, UnicodeDecodeError):
            continue
        if peer_id not in (None, peer.peer_id):
            return None
        peer_id = peer.peer_id
        addresses.extend(peer.addresses)
    return None if peer_id is None else PeerAddress(peer_id, tuple(addresses))


@asynccontextmanager
async def discover_on_lan(
    peer_id: PeerId, addresses: Sequence[str]
) -> AsyncIterator[trio.MemoryReceiveChannel[PeerAddress]]:
    """Announce this node, and yield the channel on which others arrive; raises UnavailableError without a network."""
    send, receive = trio.open_memory_channel[PeerAddress](_PENDING_MAX)
    token = trio.lowlevel.current_trio_token()

    def found(peer: PeerAddress) -> None:
        try:
            send.send_nowait(peer)
        except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
            return

    def arrived(peer: PeerAddress) -> None:  # in zeroconf's thread
        if peer.peer_id != peer_id:
            try:
                token.run_sync_soon(found, peer)
            except trio.RunFinishedError:
                return

    zeroconf, browser = await trio.to_thread.run_sync(_start, peer_id, tuple(addresses), _Listener(arrived))
    try:
        with receive:
            yield receive
    finally:
        with trio.CancelScope(shield=True), trio.move_on_after(5):
            await trio.to_thread.run_sync(_stop, zeroconf, browser, abandon_on_cancel=True)


class _Listener:
    """What zeroconf calls, in its own thread."""

    def __init__(self, arrived: object) -> None:
        self._arrived = arrived

    def add_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Resolve and report a service that appeared."""
        info = zc.get_service_info(type_, name, timeout=_RESOLVE_MS)
        peer = None if info is None else peer_in_txt(info.properties)
        if peer is not None and callable(self._arrived):
            self._arrived(peer)

    update_service = add_service

    def remove_service(self, zc: Zeroconf, type_: str, name: str) -> None:
        """Ignore: the registry notices by itself who is gone."""


def _start(peer_id: PeerId, addresses: tuple[str, ...], listener: _Listener) -> tuple[Zeroconf, ServiceBrowser]:
    from zeroconf import ServiceBrowser, ServiceInfo, Zeroconf  # here, because mDNS is off by default

    zeroconf = None
    try:
        zeroconf = Zeroconf()
        port = next((int(address.split("/tcp/")[1].split("/")[0]) for address in addresses if "/tcp/" in address), 0)
        info = ServiceInfo(
            SERVICE_TYPE,
            f"{peer_id[-16:]}.{SERVICE_TYPE}",
            port=port,
            properties=dict(txt_properties(peer_id, addresses)),
            server=f"{peer_id[-16:]}.local.",
        )
        if addresses:
            zeroconf.register_service(info)
        return zeroconf, ServiceBrowser(zeroconf, SERVICE_TYPE, listener)  # type: ignore[arg-type]
    except Exception as error:  # zeroconf has errors of its own beside OSError: none may end the node
        if zeroconf is not None:
            with suppress(Exception):
                zeroconf.close()
        reason = getattr(error, "strerror", None) or cause_text(error)
        raise UnavailableError(f"mDNS cannot start: {reason}; set `[network] mdns = false`") from None


def _stop(zeroconf: Zeroconf, browser: ServiceBrowser) -> None:
    for step in (browser.cancel, zeroconf.unregister_all_services, zeroconf.close):
        try:
            step()
        except Exception as error:  # the interface may be gone; the other steps are due all the same
            _LOG.warning("mDNS did not stop in order: %s", cause_text(error))
