"""`Transport` over libp2p: one host, one channel to each peer; it decides nothing about what is said on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import trio
from libp2p.host.basic_host import BasicHost
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from swarmharness.errors import ConfigurationError, DeadlineError, PeerLostError, RefusedError, SwarmError
from swarmharness.identity import Identity, PeerId
from swarmharness.network.addresses import check_listen, without_peer
from swarmharness.network.background import Background
from swarmharness.network.bulk import BulkExchange, BulkStream
from swarmharness.network.channel import Channel
from swarmharness.network.libp2p_dial import Dialler
from swarmharness.network.libp2p_host import BULK_PROTOCOL, CHANNEL_PROTOCOL, build_host
from swarmharness.network.libp2p_lean import LeanStream
from swarmharness.network.local_calls import call_own_handler
from swarmharness.network.peers import Peers
from swarmharness.network.ports import Handler, PeerAddress, PeerEvent
from swarmharness.network.settings import AccessRules, NetworkSettings
from swarmharness.ports import Randomness, SystemRandomness

_SHUTDOWN_S = 0.7
_RETIRE_S = 1.0


class Libp2pTransport:
    """Use as an async context manager; every task it starts ends with it.

    Raises ConfigurationError on entering when it cannot listen where it should.
    """

    def __init__(self, settings: NetworkSettings, identity: Identity, *, randomness: Randomness | None = None) -> None:
        self._settings = settings
        self._identity = identity
        self._randomness = randomness or SystemRandomness()
        self._access = settings.access
        self._handlers: dict[str, Handler] = {}
        self._refusals: Counter[str] = Counter()
        self._peers = Peers(identity.peer_id)
        self._check_psk()
        self._host, self._gate, self._links = build_host(identity, settings, self._permits)
        self._dialler = Dialler(self._host, settings.dial_timeout_s)
        self._addresses: tuple[str, ...] = ()
        self._bulk: dict[PeerId, _SharedBulk] = {}
        self._dials: dict[PeerId, _Dial] = {}
        self._stopping = False
        self._background = Background()

    # -- the port -----------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """See `Transport`."""
        return self._identity.peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Transport`."""
        return self._addresses

    def handle(self, method: str, handler: Handler) -> None:
        """See `Transport`."""
        if method in self._handlers:
            raise ValueError(f"{method} has a handler already")
        self._handlers[method] = handler

    def add_addresses(self, peer: PeerAddress) -> None:
        """See `Transport`."""
        self._dialler.remember(peer.peer_id, [without_peer(address) for address in peer.addresses])

    async def connect(self, peer_id: PeerId, *, timeout_s: float) -> None:
        """See `Transport`."""
        if peer_id != self.peer_id:
            await self._channel_to(peer_id, timeout_s)

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """See `Transport`."""
        channel = self._peers.channel(peer_id)
        if channel is None:
            if peer_id == self.peer_id:
                return await call_own_handler(self.peer_id, self._handlers, method, payload, timeout_s)
            started = trio.current_time()
            channel = await self._channel_to(peer_id, timeout_s)
            channel = self._peers.channel(peer_id) or channel  # the peer may have dialled meanwhile
            timeout_s = max(timeout_s - (trio.current_time() - started), 0.001)
        return await channel.call(method, payload, timeout_s=timeout_s)

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport`."""
        return self._peers.connected()

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        """See `Transport`."""
        channel = self._peers.channel(peer_id)
        return None if channel is None else channel.round_trip_us

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """See `Transport`."""
        self._peers.watch(listener)

    # -- beyond the port ------------------------------------------------------------------------------------------

    @property
    def host(self) -> BasicHost:
        """The libp2p host, for `Libp2pDht` only."""
        return self._host

    def refusals(self) -> dict[str, int]:
        """How many messages and connections were refused so far, by reason."""
        return dict(self._refusals)

    def set_access(self, rules: AccessRules) -> None:
        """Replace the access rules; peers that they exclude are cut off now."""
        self._access = rules
        for peer_id in self._peers.connected():
            if not rules.permits(peer_id):
                self._drop(peer_id, "refused by the access rules")

    def disconnect(self, peer_id: PeerId, reason: str) -> None:
        """Say goodbye to a peer; nothing reconnects."""
        self._drop(peer_id, reason)

    # -- life -----------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        check_listen(self._settings.listen)
        nursery = await self._background.open()
        try:
            await nursery.start(self._run_host)
            self._addresses = self._bound_addresses()
        except BaseException as error:
            await self._background.close(error)
            while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
                error = error.exceptions[0]
            raise error from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SHUTDOWN_S):
            self._peers.close_all("the other node is stopping")
            await self._peers.wait_until_none()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _SHUTDOWN_S):
            await self._links.cut_all()
        await self._background.close(error)

    async def _run_host(self, *, task_status: trio.TaskStatus[None]) -> None:
        self._host.set_stream_handler(CHANNEL_PROTOCOL, self._on_channel_stream)
        self._host.set_stream_handler(BULK_PROTOCOL, self._on_bulk_stream)
        async with self._host.run([Multiaddr(address) for address in self._settings.listen]):
            task_status.started()
            await trio.sleep_forever()

    def _bound_addresses(self) -> tuple[str, ...]:
        bound = self._host.get_network().listeners
        for address in self._settings.listen:
            if str(Multiaddr(address)) not in bound:
                raise ConfigurationError(f"cannot listen on {address}: choose another address or port")
        addresses = {without_peer(str(address)) for address in self._host.get_addrs()}
        # Plain TCP first: it is twice as fast as WebSocket.
        return tuple(sorted(addresses, key=lambda address: (address.endswith("/ws"), address)))

    # -- channels ---------------------------------------------------------------------------------------------------

    async def _channel_to(self, peer_id: PeerId, timeout_s: float) -> Channel:
        """Return the peer's channel, opening it if need be; concurrent callers share one dial."""
        self._check_permitted(peer_id)
        channel = self._peers.channel(peer_id)
        if channel is not None:
            return channel
        dial = self._dials.get(peer_id)
        if dial is None:
            dial = self._dials[peer_id] = _Dial()
            self._background.nursery.start_soon(self._dial, peer_id, dial)
        return await dial.wait(timeout_s, peer_id)

    async def _dial(self, peer_id: PeerId, dial: _Dial) -> None:
        try:
            dial.channel = await self._open_channel(peer_id)
        except SwarmError as error:
            dial.error = error
        finally:
            del self._dials[peer_id]
            dial.done.set()

    async def _open_channel(self, peer_id: PeerId) -> Channel:
        if self._stopping:
            raise PeerLostError("this node is stopping")
        self._check_permitted(peer_id)
        stream = await self._dialler.open_stream(peer_id, CHANNEL_PROTOCOL)
        present = self._peers.channel(peer_id)
        if present is not None:  # the peer was faster
            await stream.reset()
            return present
        channel: Channel = await self._background.nursery.start(self._run_channel, stream, peer_id, True)
        return channel

    async def _run_channel(
        self, stream: Any, peer_id: PeerId, opened_here: bool, *, task_status: trio.TaskStatus[Any]
    ) -> None:
        """Shake hands and serve until the channel ends; errors of the handshake go to `nursery.start`'s caller."""
        shared = self._bulk.setdefault(peer_id, _SharedBulk(self._new_bulk(peer_id)))
        shared.users += 1
        channel = self._new_channel(stream, peer_id, shared.bulk)
        try:
            await channel.handshake()
            self._check_permitted(peer_id)
            retired = self._peers.add(channel, opened_here=opened_here)
            channel.on_end = lambda: self._on_end(channel)
            task_status.started(channel)
            if retired is not None:
                self._background.nursery.start_soon(_retire, retired)
            await channel.run()
        finally:
            self._peers.remove(channel)
            shared.users -= 1
            if not shared.users:
                del self._bulk[peer_id]
                shared.bulk.close(channel.end.reason if channel.end else "")

    def _on_end(self, channel: Channel) -> None:
        gone = self._peers.end(channel)
        if gone and channel.end is not None and not channel.end.farewell and not self._stopping:
            self._background.nursery.start_soon(self._reconnect, channel.peer_id)

    def _new_channel(self, stream: Any, peer_id: PeerId, bulk: BulkExchange) -> Channel:
        return Channel(
            LeanStream(stream),
            peer_id,
            self._handlers,
            self._settings.channel,
            bulk=bulk,
            refuse=self._refuse,
            first_request_id=self._randomness.below(2**32),
        )

    def _new_bulk(self, peer_id: PeerId) -> BulkExchange:
        async def open_stream() -> BulkStream:
            try:
                with trio.fail_after(self._settings.dial_timeout_s):
                    return LeanStream(await self._host.new_stream(ID.from_base58(peer_id), [BULK_PROTOCOL]))
            except Exception as error:  # libp2p raises many kinds, and all mean that there is no stream
                raise trio.BrokenResourceError(str(error)) from error

        return BulkExchange(open_stream, self._settings.bulk, self._refuse)

    async def _on_channel_stream(self, stream: Any) -> None:
        """Serve a channel that the peer opened; runs in a task of libp2p, so nothing may escape."""
        peer_id = PeerId(stream.muxed_conn.peer_id.to_base58())
        try:
            self._check_permitted(peer_id)
            await self._run_channel(stream, peer_id, False, task_status=trio.TASK_STATUS_IGNORED)
        except SwarmError:
            pass  # the handshake failed, and that was counted
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 0.2):
                await stream.reset()

    async def _on_bulk_stream(self, stream: Any) -> None:
        """Give a payload's stream to the channel that expects it; runs in a task of libp2p."""
        peer_id = PeerId(stream.muxed_conn.peer_id.to_base58())
        shared = self._bulk.get(peer_id)
        if shared is None or not self._permits(peer_id):
            self._refuse("bulk stream")
            await stream.reset()
            return
        await shared.bulk.accept(LeanStream(stream))

    async def _reconnect(self, peer_id: PeerId) -> None:
        """Try to get a lost peer back, less and less often, then forget it."""
        settings = self._settings
        for attempt in range(settings.reconnect_attempts):
            delay_s = min(settings.reconnect_first_s * 2**attempt, settings.reconnect_most_s)
            await trio.sleep(delay_s * (0.5 + self._randomness.below(1000) / 1000))
            if self._stopping or not self._permits(peer_id) or self._peers.channel(peer_id) is not None:
                return
            try:
                await self._channel_to(peer_id, settings.dial_timeout_s)
            except SwarmError:
                continue
            return

    def _drop(self, peer_id: PeerId, reason: str) -> None:
        self._peers.close(peer_id, reason)
        self._background.nursery.start_soon(self._cut, peer_id)

    async def _cut(self, peer_id: PeerId) -> None:
        with trio.move_on_after(_SHUTDOWN_S):
            await self._peers.wait_until_gone(peer_id)
        await self._gate.cut(peer_id)

    # -- access -----------------------------------------------------------------------------------------------------

    def _permits(self, peer_id: str) -> bool:
        if self._access.permits(peer_id):
            return True
        self._refuse("access")
        return False

    def _check_permitted(self, peer_id: PeerId) -> None:
        if not self._permits(peer_id):
            raise RefusedError(f"the access rules of this node exclude {peer_id}")

    def _refuse(self, reason: str) -> None:
        self._refusals[reason] += 1

    def _check_psk(self) -> None:
        psk = self._settings.psk_hex
        if psk:
            try:
                size = len(bytes.fromhex(psk))
            except ValueError:
                size = 0
            if size != 32 or len(psk) != 64:
                raise ConfigurationError("the pre-shared key must be 64 hexadecimal digits (32 random bytes)")


async def _retire(channel: Channel) -> None:
    """Close a duplicate when both sides have had time to see that it is one."""
    await trio.sleep(_RETIRE_S)
    channel.retire()


class _SharedBulk:
    """What moves large payloads to and from a peer: one for all its channels, which may be two for a moment."""

    def __init__(self, bulk: BulkExchange) -> None:
        self.bulk = bulk
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
        if self.error is not None:
            raise type(self.error)(str(self.error))
        raise DeadlineError(f"{peer_id} could not be reached within {timeout_s:g} s")
