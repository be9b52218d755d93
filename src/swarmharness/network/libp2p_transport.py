"""`Transport` over libp2p: one host, one channel to each peer; it decides nothing about what is said on them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self

import trio
from libp2p.host.basic_host import BasicHost
from multiaddr import Multiaddr

from swarmharness.address_prefixes import shared_network
from swarmharness.errors import ConfigurationError, leaf
from swarmharness.identity import Identity, PeerId
from swarmharness.network.addresses import check_listen, without_peer
from swarmharness.network.broadcast_limits import BroadcastLimits
from swarmharness.network.handlers import Handlers
from swarmharness.network.interfaces import read_hosts
from swarmharness.network.libp2p_dial import Dialler
from swarmharness.network.libp2p_fence import Fence
from swarmharness.network.libp2p_host import build_host
from swarmharness.network.libp2p_sessions import Sessions
from swarmharness.network.libp2p_streams import BULK_PROTOCOL, CHANNEL_PROTOCOL
from swarmharness.network.limits import Limits
from swarmharness.network.local_calls import call_own_handler
from swarmharness.network.own_addresses import OwnAddresses
from swarmharness.network.ports import Handler, PeerAddress, PeerEvent
from swarmharness.network.settings import AccessRules, NetworkSettings
from swarmharness.ports import Randomness, SystemClock, SystemRandomness
from swarmharness.refusals import Reason, Refusals

LOOK_S = 2.0
"""How often the addresses of this machine are looked at; a look takes half a millisecond."""
_LOG = logging.getLogger(__name__)
_SHUTDOWN_S = 0.7


class Libp2pTransport:
    """Use as an async context manager; every task it starts ends with it.

    Raises ConfigurationError on entering when it cannot listen where it should.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        identity: Identity,
        *,
        randomness: Randomness | None = None,
        refusals: Refusals | None = None,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._access = settings.access
        self._handlers = Handlers()
        self.refused = refusals or Refusals(SystemClock().monotonic_us)
        self._check_psk()
        self._own = OwnAddresses(settings.announce)
        self.known: Callable[[PeerId], bool] = lambda peer_id: False
        """Which peers, besides those that are configured, may take the reserved places for connections."""
        built = build_host(identity, settings, self._permits, lambda: self._own.current, self.refused, self.is_known)
        self._built, self._host, self._gate, self._links = built, built.host, built.gate, built.links
        self._sessions = Sessions(
            Dialler(self._host, built.book, settings.dial_timeout_s),
            identity.peer_id,
            settings,
            self._handlers,
            randomness or SystemRandomness(),
            permits=self._permits,
            known=self.is_known,
            refused=self.refused,
            links=self._links,
            cut=self._gate.cut,
        )
        self._peers = self._sessions.peers

    # -- the port -----------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """See `Transport`."""
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Transport`."""
        return self._own.current

    @property
    def listening(self) -> tuple[str, ...]:
        """See `Transport`."""
        return self._own.listening

    def handle(self, method: str, handler: Handler) -> None:
        """See `Transport`."""
        self._handlers.add(method, handler)

    def add_addresses(self, peer: PeerAddress) -> None:
        """See `Transport`."""
        self._sessions.dialler.remember(peer.peer_id, [without_peer(address) for address in peer.addresses])

    async def connect(self, peer_id: PeerId, *, timeout_s: float) -> None:
        """See `Transport`."""
        if peer_id != self.peer_id:
            await self._sessions.channel_to(peer_id, timeout_s)

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """See `Transport`."""
        channel = self._peers.channel(peer_id)
        if channel is None:
            if peer_id == self.peer_id:
                return await call_own_handler(self.peer_id, self._handlers, method, payload, timeout_s)
            started = trio.current_time()
            channel = await self._sessions.channel_to(peer_id, timeout_s)
            timeout_s = max(timeout_s - (trio.current_time() - started), 0.001)
        return await channel.call(method, payload, timeout_s=timeout_s)

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport`."""
        return self._peers.connected()

    def permits(self, peer_id: PeerId) -> bool:
        """See `Transport`."""
        return self._access.permits(peer_id)

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        """See `Transport`."""
        channel = self._peers.channel(peer_id)
        return None if channel is None else channel.round_trip_us

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """See `Transport`."""
        self._peers.watch(listener)

    def watch_addresses(self, listener: Callable[[], None]) -> None:
        """See `Transport`."""
        self._own.watch(listener)

    # -- beyond the port ------------------------------------------------------------------------------------------

    @property
    def host(self) -> BasicHost:
        """The libp2p host, for `Libp2pDht` and `Libp2pBroadcast` only."""
        return self._host

    @property
    def fence(self) -> Fence:
        """What bounds the faults of libp2p, for the same."""
        return self._built.fence

    @property
    def broadcast_limits(self) -> BroadcastLimits:
        """Those of its settings, for `Libp2pBroadcast`."""
        return self._settings.broadcast

    def is_known(self, peer_id: str) -> bool:
        """Tell whether the owner named a peer, or this node has had to do with it: some places are for such."""
        return peer_id in self._settings.configured or self.known(PeerId(peer_id))

    @property
    def limits(self) -> Limits:
        """What strangers may take up, for the same."""
        return self._settings.limits

    def host_of(self, peer_id: str) -> str:
        """Return the address from which a peer is connected; empty if it is not."""
        return self._gate.host_of(peer_id)

    async def turn(self, peer_id: str) -> None:
        """Wait until something may be worked out for a peer, while others ask for much."""
        known = self.is_known(peer_id)
        network = "" if known else shared_network(self.host_of(peer_id), loopback=self.limits.loopback)
        await self._built.turns.take(network or peer_id, known=known)

    def connections(self) -> dict[str, int]:
        """How many connections there are: serving a channel, idle, and half-open."""
        return self._links.counts()

    def refusals(self) -> dict[str, int]:
        """How many messages and connections were refused so far, by reason."""
        return dict(self.refused.counts)

    def set_access(self, rules: AccessRules) -> None:
        """Replace the access rules; peers that they exclude are cut off now."""
        self._access = rules
        for peer_id in {*self._peers.connected(), *self._gate.peers()}:
            if not rules.permits(peer_id):
                self._drop(PeerId(peer_id), "refused by the access rules")

    def disconnect(self, peer_id: PeerId, reason: str) -> None:
        """Say goodbye to a peer; nothing reconnects."""
        self._drop(peer_id, reason)

    # -- life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_listen(self._settings.listen)
        nursery = await self._sessions.background.open()
        try:
            nursery.start_soon(self._links.watch)
            nursery.start_soon(self._built.turns.run)
            await nursery.start(self._run_host)
            self._own.update(self._bound(), read_hosts())
            if self._own.listening:
                nursery.start_soon(self._watch_hosts)
        except BaseException as error:
            await self._sessions.background.close(error)
            raise leaf(error) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sessions.stopping = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SHUTDOWN_S):
            self._peers.close_all("the other node is stopping")
            await self._peers.wait_until_none()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SHUTDOWN_S):
            await self._links.cut_all()
        await self._sessions.background.close(error)

    async def _run_host(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._host.set_stream_handler(CHANNEL_PROTOCOL, self._sessions.on_channel_stream)
        self._host.set_stream_handler(BULK_PROTOCOL, self._sessions.on_bulk_stream)
        await self._built.fence.keep("network", partial(self._run_network, task_status))

    async def _run_network(self, task_status: trio.TaskStatus[None]) -> None:
        """Run libp2p until it fails; what was listened on once is listened on again."""
        again = self._own.listening

        def listening() -> None:
            if not again:
                task_status.started()
            elif len(self._host.get_network().listeners) < len(again):
                raise ConfigurationError(f"cannot listen on all of {', '.join(again)} again")

        await self._built.run(again or self._settings.listen, listening)

    def _bound(self) -> list[str]:
        bound = self._host.get_network().listeners
        for address in self._settings.listen:
            if str(Multiaddr(address)) not in bound:
                raise ConfigurationError(f"cannot listen on {address}: choose another address or port")
        return [without_peer(str(address)) for address in self._host.get_transport_addrs()]

    async def _watch_hosts(self) -> None:
        """Follow the addresses of this machine; what is connected by one that is gone is cut, and dialled again."""
        while True:
            await trio.sleep(LOOK_S)
            try:
                hosts = await trio.to_thread.run_sync(read_hosts, abandon_on_cancel=True)
            except OSError as error:
                _LOG.debug("the addresses of this machine cannot be read, so those from before stand: %s", error)
                continue
            if hosts.present:  # some sandboxes tell of none
                await self._links.cut_strangers(hosts.present)
            if self._own.update(self._own.listening, hosts):
                _LOG.info("this node is reached at %s now", ", ".join(self._own.current) or "no address")

    def _drop(self, peer_id: PeerId, reason: str) -> None:
        self._peers.close(peer_id, reason)
        self._sessions.background.nursery.start_soon(self._cut, peer_id)

    async def _cut(self, peer_id: PeerId) -> None:
        with trio.move_on_after(_SHUTDOWN_S):
            await self._peers.wait_until_gone(peer_id)
        await self._gate.cut(peer_id)

    # -- access -----------------------------------------------------------------------------------------------------

    def _permits(self, peer_id: str) -> bool:
        if self._access.permits(peer_id):
            return True
        text = f"{peer_id} is excluded by this node's allow or deny list (network.allow, network.deny)"
        self.refused.note(Reason.ACCESS, peer_id, text)
        return False

    def _check_psk(self) -> None:
        psk = self._settings.psk_hex
        if psk:
            try:
                size = len(bytes.fromhex(psk))
            except ValueError:
                size = 0
            if size != 32 or len(psk) != 64:
                raise ConfigurationError("the pre-shared key must be 64 hexadecimal digits (32 random bytes)")
