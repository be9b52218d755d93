"""One node's transport in a `MemoryNetwork`: the rules of the libp2p transport without bytes; it opens no socket."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from swarmharness.errors import DeadlineError, InputError, PeerLostError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.addresses import ADDRESSES_MAX
from swarmharness.network.background import Background
from swarmharness.network.handlers import Handlers, check_answer
from swarmharness.network.local_calls import call_own_handler, serve_call
from swarmharness.network.own_addresses import Hosts, OwnAddresses
from swarmharness.network.ports import Handler, PeerAddress, PeerEvent, Request
from swarmharness.network.settings import AccessRules, NetworkSettings
from swarmharness.refusals import Reason, Refusals

if TYPE_CHECKING:
    from swarmharness.network.memory import MemoryLink, MemoryNetwork

DIAL_BYTES = 1024
"""About what TCP, Noise and Yamux handshakes and the first frames send, each way."""


class _Call:
    """A call that a handler works on, and what became of it."""

    __slots__ = ("answer", "done", "error", "scope")

    def __init__(self) -> None:
        self.scope, self.done = trio.CancelScope(), trio.Event()
        self.answer = b""
        self.error: SwarmError | None = None


class MemoryTransport:
    """`Transport` between the nodes of a `MemoryNetwork`; see `MemoryNetwork.node`."""

    def __init__(self, network: MemoryNetwork, peer_id: PeerId, settings: NetworkSettings) -> None:
        self.network = network
        self.settings = settings
        self._peer_id = peer_id
        self._own = OwnAddresses()
        if settings.listen:
            self._own.update([f"/memory/{peer_id}"], Hosts())
        self._moves = 0
        self._access = settings.access
        self._handlers = Handlers()
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._listeners: list[Callable[[PeerEvent], None]] = []
        self.refused = Refusals(lambda: round(trio.current_time() * 1e6))
        self._up = False
        self._background = Background()
        """Where handlers run: they end with their node, and not with whoever called."""

    async def __aenter__(self) -> Self:
        self.network.add_node(self)
        await self._background.open()
        self._up = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._up = False
        self.network.remove_node(self)
        await self._background.close(error)

    # -- the port -------------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """See `Transport`."""
        return self._peer_id

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
        known = self._known.get(peer.peer_id, ())
        if known != peer.addresses:
            merged = tuple(dict.fromkeys((*peer.addresses, *known))) if known else peer.addresses
            self._known[peer.peer_id] = merged[:ADDRESSES_MAX]

    async def connect(self, peer_id: PeerId, *, timeout_s: float) -> None:
        """See `Transport`."""
        if peer_id != self._peer_id:
            await self._link_to(peer_id, timeout_s)

    async def call(self, peer_id: PeerId, method: str, payload: bytes, *, timeout_s: float) -> bytes:
        """See `Transport`."""
        if peer_id == self._peer_id:
            return await call_own_handler(self._peer_id, self._handlers, method, payload, timeout_s)
        deadline = trio.current_time() + timeout_s
        link = await self._link_to(peer_id, timeout_s)
        self._check_size(len(payload))
        answer = await link.carry(self._peer_id, method, payload, timeout_s, deadline)
        check_answer(method, len(answer), lambda reason: self.refused.note(reason, peer_id))
        return answer

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport`."""
        return self.network.neighbours(self._peer_id)

    def permits(self, peer_id: PeerId) -> bool:
        """See `Transport`."""
        return self._access.permits(peer_id)

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        """See `Transport`."""
        if self.network.link(self._peer_id, peer_id) is None:
            return None
        return max(1, round(2e6 * self.network.delay_s(self._peer_id, peer_id)))

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """See `Transport`."""
        self._listeners.append(listener)

    def watch_addresses(self, listener: Callable[[], None]) -> None:
        """See `Transport`."""
        self._own.watch(listener)

    # -- beyond the port, as the libp2p transport has it ------------------------------------------------------------

    def refusals(self) -> dict[str, int]:
        """How many messages and connections were refused so far, by reason."""
        return dict(self.refused.counts)

    def set_access(self, rules: AccessRules) -> None:
        """Replace the access rules; peers that they exclude are cut off now."""
        self._access = rules
        for peer_id in self.connected():
            if not rules.permits(peer_id):
                self.disconnect(peer_id, "refused by the access rules")

    def disconnect(self, peer_id: PeerId, reason: str) -> None:
        """Say goodbye to a peer; nothing reconnects."""
        link = self.network.link(self._peer_id, peer_id)
        if link is not None:
            link.end(reason, lost=False)

    def move(self) -> None:
        """Have another address from now on, as in another network; see `MemoryNetwork.move`."""
        self._moves += 1
        self._own.update([f"/memory/{self._peer_id}/{self._moves}"], Hosts())

    # -- what the network does here -----------------------------------------------------------------------------------

    def tell(self, event: PeerEvent) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(event)

    def admits(self, peer_id: PeerId) -> bool:
        """Tell whether a peer may connect; counts refusals."""
        if self._access.permits(peer_id):
            return True
        text = f"{peer_id} is excluded by this node's allow or deny list (network.allow, network.deny)"
        self.refused.note(Reason.ACCESS, peer_id, text)
        return False

    def is_at(self, addresses: tuple[str, ...]) -> bool:
        """Tell whether this node listens at one of these."""
        own = self._own.current
        return own == addresses or any(address in addresses for address in own)

    async def answer(self, caller: PeerId, method: str, payload: bytes, timeout_s: float, deadline: float) -> bytes:
        """Have this node answer a call: a caller that gives up cancels the handler, and does not wait for its end."""
        if not self._up:
            raise PeerLostError("the peer is stopping")
        call = _Call()
        self._background.nursery.start_soon(self._attend, call, caller, method, payload, timeout_s, deadline)
        try:
            await call.done.wait()
        finally:
            call.scope.cancel()
        if call.error is not None:
            raise call.error
        return call.answer

    async def _attend(
        self, call: _Call, caller: PeerId, method: str, payload: bytes, timeout_s: float, deadline: float
    ) -> None:
        with call.scope:
            try:
                call.answer = await self.serve(caller, method, payload, timeout_s, deadline)
            except SwarmError as error:
                call.error = error
            call.done.set()

    async def serve(self, caller: PeerId, method: str, payload: bytes, timeout_s: float, deadline: float) -> bytes:
        """Run a handler for a peer that waits until `deadline`; raises only SwarmErrors, of the kinds of a wire."""
        if len(payload) > self.settings.bulk.payload_bytes_max:
            self.refused.note("oversized", caller)
            self._check_size(len(payload))
        request = Request(caller, method, payload, timeout_s)
        answer = await serve_call(
            self._peer_id, self._handlers, request, lambda reason: self.refused.note(reason, caller)
        )
        self._check_size(len(answer))
        return answer

    async def reconnect(self, peer_id: PeerId) -> None:
        """Try to get a lost peer back, less and less often, then forget it."""
        for attempt in range(self.settings.reconnect_attempts):
            await trio.sleep(min(self.settings.reconnect_first_s * 2**attempt, self.settings.reconnect_most_s))
            if not self._up or self.network.link(self._peer_id, peer_id) is not None:
                return
            try:
                await self._link_to(peer_id, self.settings.dial_timeout_s)
            except SwarmError:
                continue
            return

    async def _link_to(self, peer_id: PeerId, timeout_s: float) -> MemoryLink:
        if not self._up or self.network.is_dead(self._peer_id):
            raise PeerLostError("this node is stopping")
        if not self.admits(peer_id):
            raise RefusedError(f"the access rules of this node exclude {peer_id}")
        link = self.network.link(self._peer_id, peer_id)
        if link is not None:
            return link
        if not self._known.get(peer_id):
            raise PeerLostError(f"no address of {peer_id} is known: join with its invite or its multiaddr")
        with trio.move_on_after(timeout_s):
            return await self._dial(peer_id)
        raise DeadlineError(f"{peer_id} could not be reached within {timeout_s:g} s")

    async def _dial(self, peer_id: PeerId) -> MemoryLink:
        with trio.move_on_after(self.settings.dial_timeout_s):
            await self.network.travel(self._peer_id, peer_id, "dial", DIAL_BYTES)
            target = self.network.reachable(peer_id)
            if target is None or not target.is_at(self._known[peer_id]):
                raise PeerLostError(f"cannot reach {peer_id}: nobody listens there")
            if target.settings.psk_hex != self.settings.psk_hex:
                await trio.sleep_forever()
            await self.network.travel(peer_id, self._peer_id, "dial", DIAL_BYTES)
            if not target.admits(self._peer_id):
                raise PeerLostError(f"{peer_id} closed the connection: it may not allow this node")
            return self.network.link(self._peer_id, peer_id) or self.network.add_link(self, target)
        raise PeerLostError(
            f"cannot reach {peer_id}: no answer in {self.settings.dial_timeout_s:g} s, or another pre-shared key"
        )

    def _check_size(self, size: int) -> None:
        most = self.settings.bulk.payload_bytes_max
        if size > most:
            raise InputError(f"a payload of {size} bytes exceeds the maximum of {most} bytes").for_peers()
