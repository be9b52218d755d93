"""The in-memory twin of the libp2p transport, with faults to inject; nothing of it leaves the process.

Time passes only through `trio.sleep`, so a `MockClock` drives it. `kill`, `cut` and `set_delay` are the faults: a
killed node's peers notice at once (the kernel resets its connections), a cut link only when the heartbeat gives up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from swarmharness.errors import DeadlineError, InputError, PeerLostError, RefusedError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.heartbeat import MISSED_MAX
from swarmharness.network.local_calls import call_own_handler, serve_call
from swarmharness.network.ports import Handler, PeerAddress, PeerEvent
from swarmharness.network.settings import AccessRules, NetworkSettings

if TYPE_CHECKING:
    from swarmharness.network.memory_dht import MemoryDht

_Pair = frozenset[PeerId]

DIAL_BYTES = 1024
"""About what TCP, Noise and Yamux handshakes and the first frames send, each way."""


class MemoryNetwork:
    """The world that the nodes of a test or simulation live in; use as an async context manager."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._delays: dict[_Pair, float] = {}
        self._cut: set[_Pair] = set()
        self._dead: set[PeerId] = set()
        self._nodes: dict[PeerId, MemoryTransport] = {}
        self._links: dict[PeerId, dict[PeerId, _Link]] = {}
        self.dhts: dict[PeerId, MemoryDht] = {}
        self._nursery_manager = trio.open_nursery()
        self._nursery: trio.Nursery | None = None

    async def __aenter__(self) -> Self:
        self._nursery = await self._nursery_manager.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        if error is None or isinstance(error, Exception):
            await self._nursery_manager.__aexit__(None, None, None)
        else:
            await self._nursery_manager.__aexit__(kind, error, trace)

    def node(self, peer_id: PeerId, settings: NetworkSettings | None = None) -> MemoryTransport:
        """Return a new node's transport; it is up while it is entered, and not killed."""
        return MemoryTransport(self, peer_id, settings or NetworkSettings())

    # -- faults -------------------------------------------------------------------------------------------------

    def kill(self, peer_id: PeerId) -> None:
        """Stop a node without a farewell: its calls fail, and its peers see their connections reset."""
        self._dead.add(peer_id)
        for link in self.links_of(peer_id):
            link.end("the connection broke", lost=True)

    def revive(self, peer_id: PeerId) -> None:
        """Let a killed node take part again, without its connections."""
        self._dead.discard(peer_id)

    def cut(self, left: PeerId, right: PeerId) -> None:
        """Let nothing through between two nodes; their channel dies when the heartbeat notices."""
        self._cut.add(frozenset((left, right)))
        link = self.link(left, right)
        if link is not None:
            self.doubt(link)

    def mend(self, left: PeerId, right: PeerId) -> None:
        """Undo `cut`."""
        self._cut.discard(frozenset((left, right)))

    def partition(self, *groups: Iterable[PeerId]) -> None:
        """Cut every link between nodes of different groups."""
        sets = [list(group) for group in groups]
        for index, group in enumerate(sets):
            for other in sets[index + 1 :]:
                for left in group:
                    for right in other:
                        self.cut(left, right)

    def heal(self) -> None:
        """Mend all links."""
        self._cut.clear()

    def set_delay(self, left: PeerId, right: PeerId, delay_s: float) -> None:
        """Set the one-way delay between two nodes."""
        self._delays[frozenset((left, right))] = delay_s

    # -- what nodes and the DHT twin use --------------------------------------------------------------------------

    def delay_s(self, left: PeerId, right: PeerId) -> float:
        """The one-way delay between two nodes."""
        return self._delays.get(frozenset((left, right)), self._delay_s) if self._delays else self._delay_s

    async def travel(self, left: PeerId, right: PeerId, kind: str, size_bytes: int) -> None:
        """Be a message on its way: takes the delay, and never ends across a cut."""
        await trio.sleep(self.delay_s(left, right))
        if self.is_cut(left, right):
            await trio.sleep_forever()

    def reachable(self, peer_id: PeerId) -> MemoryTransport | None:
        """Return the node if its process is up."""
        node = self._nodes.get(peer_id)
        return None if node is None or peer_id in self._dead else node

    def is_dead(self, peer_id: PeerId) -> bool:
        """Tell whether the node was killed."""
        return peer_id in self._dead

    def is_cut(self, left: PeerId, right: PeerId) -> bool:
        """Tell whether nothing gets through between two nodes."""
        return frozenset((left, right)) in self._cut

    def link(self, left: PeerId, right: PeerId) -> _Link | None:
        """Return the channel between two nodes."""
        links = self._links.get(left)
        return None if links is None else links.get(right)

    def links_of(self, peer_id: PeerId) -> list[_Link]:
        """Return the channels of one node, oldest first."""
        return list(self._links.get(peer_id, {}).values())

    def neighbours(self, peer_id: PeerId) -> tuple[PeerId, ...]:
        """Return the nodes at the other ends of one node's channels, oldest first."""
        return tuple(self._links.get(peer_id, ()))

    def add_link(self, left: MemoryTransport, right: MemoryTransport) -> _Link:
        """Make a channel; both nodes are told."""
        link = _Link(self, left, right)
        self._links.setdefault(left.peer_id, {})[right.peer_id] = link
        self._links.setdefault(right.peer_id, {})[left.peer_id] = link
        left.tell(PeerEvent(right.peer_id, connected=True))
        right.tell(PeerEvent(left.peer_id, connected=True))
        return link

    def remove_link(self, link: _Link) -> None:
        """Forget an ended channel."""
        for node in (link.left, link.right):
            links = self._links.get(node.peer_id, {})
            links.pop(link.other(node.peer_id).peer_id, None)
            if not links:
                self._links.pop(node.peer_id, None)

    def doubt(self, link: _Link) -> None:
        """Nothing gets through a link now: it ends unless that changes before the heartbeat gives up."""
        if self._nursery is not None:
            self._nursery.start_soon(link.die_silently)

    def add_node(self, node: MemoryTransport) -> None:
        """A node starts."""
        if node.peer_id in self._nodes:
            raise ValueError(f"{node.peer_id} is already a node of this network")
        self._nodes[node.peer_id] = node

    def remove_node(self, node: MemoryTransport) -> None:
        """A node stops, saying goodbye."""
        for link in self.links_of(node.peer_id):
            link.end("the other node is stopping", lost=False)
        del self._nodes[node.peer_id]

    def start(self, node: MemoryTransport, peer_id: PeerId) -> None:
        """Begin to reconnect in the background."""
        if self._nursery is not None:
            self._nursery.start_soon(node.reconnect, peer_id)


class _Link:
    """One channel between two nodes."""

    def __init__(self, network: MemoryNetwork, left: MemoryTransport, right: MemoryTransport) -> None:
        self.left = left
        self.right = right
        self._network = network
        self._flights: set[trio.CancelScope] = set()
        self._ended = ""

    def other(self, peer_id: PeerId) -> MemoryTransport:
        """Return the node at the other end."""
        return self.right if peer_id == self.left.peer_id else self.left

    async def carry(self, caller: PeerId, method: str, payload: bytes, timeout_s: float) -> bytes:
        """Bring a call to the other end and its answer back; raises as `Transport.call`."""
        target, network = self.other(caller), self._network
        with trio.move_on_after(timeout_s) as flight:
            self._flights.add(flight)
            try:
                await network.travel(caller, target.peer_id, method, len(payload))
                try:
                    answer = await target.serve(caller, method, payload, timeout_s)
                except SwarmError as error:
                    await network.travel(target.peer_id, caller, method, len(str(error)))
                    raise
                await network.travel(target.peer_id, caller, method, len(answer))
                return answer
            finally:
                self._flights.discard(flight)
        if self._ended:
            raise PeerLostError(f"the channel ended: {self._ended}")
        raise DeadlineError(f"{method}: no answer within {timeout_s:g} s")

    async def die_silently(self) -> None:
        """End if the link is still cut when the heartbeat would give up."""
        await trio.sleep((MISSED_MAX + 1) * self.left.settings.channel.heartbeat_s)
        if not self._ended and self._network.is_cut(self.left.peer_id, self.right.peer_id):
            self.end("the peer stopped answering", lost=True)

    def end(self, reason: str, *, lost: bool) -> None:
        """End the channel; calls under way raise PeerLostError."""
        if self._ended:
            return
        self._ended = reason
        self._network.remove_link(self)
        for flight in list(self._flights):
            flight.cancel()
        for node in (self.left, self.right):
            other = self.other(node.peer_id).peer_id
            node.tell(PeerEvent(other, connected=False, reason=reason))
            if lost and not self._network.is_dead(node.peer_id):
                self._network.start(node, other)


class MemoryTransport:
    """`Transport` between the nodes of a `MemoryNetwork`; see `MemoryNetwork.node`."""

    def __init__(self, network: MemoryNetwork, peer_id: PeerId, settings: NetworkSettings) -> None:
        self.network = network
        self.settings = settings
        self._peer_id = peer_id
        self._access = settings.access
        self._handlers: dict[str, Handler] = {}
        self._known: dict[PeerId, tuple[str, ...]] = {}
        self._listeners: list[Callable[[PeerEvent], None]] = []
        self._refusals: Counter[str] = Counter()
        self._up = False

    async def __aenter__(self) -> Self:
        self.network.add_node(self)
        self._up = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._up = False
        self.network.remove_node(self)

    # -- the port -------------------------------------------------------------------------------------------------

    @property
    def peer_id(self) -> PeerId:
        """See `Transport`."""
        return self._peer_id

    @property
    def addresses(self) -> tuple[str, ...]:
        """See `Transport`."""
        return (f"/memory/{self._peer_id}",) if self.settings.listen else ()

    def handle(self, method: str, handler: Handler) -> None:
        """See `Transport`."""
        if method in self._handlers:
            raise ValueError(f"{method} has a handler already")
        self._handlers[method] = handler

    def add_addresses(self, peer: PeerAddress) -> None:
        """See `Transport`."""
        known = self._known.get(peer.peer_id, ())
        self._known[peer.peer_id] = tuple(dict.fromkeys((*peer.addresses, *known)))

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
        return await link.carry(self._peer_id, method, payload, max(deadline - trio.current_time(), 0))

    def connected(self) -> tuple[PeerId, ...]:
        """See `Transport`."""
        return self.network.neighbours(self._peer_id)

    def round_trip_us(self, peer_id: PeerId) -> int | None:
        """See `Transport`."""
        if self.network.link(self._peer_id, peer_id) is None:
            return None
        return max(1, round(2e6 * self.network.delay_s(self._peer_id, peer_id)))

    def watch(self, listener: Callable[[PeerEvent], None]) -> None:
        """See `Transport`."""
        self._listeners.append(listener)

    # -- beyond the port, as the libp2p transport has it ------------------------------------------------------------

    def refusals(self) -> dict[str, int]:
        """How many messages and connections were refused so far, by reason."""
        return dict(self._refusals)

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

    # -- what the network does here -----------------------------------------------------------------------------------

    def tell(self, event: PeerEvent) -> None:
        """Tell the listeners."""
        for listener in self._listeners:
            listener(event)

    def admits(self, peer_id: PeerId) -> bool:
        """Tell whether a peer may connect; counts refusals."""
        if self._access.permits(peer_id):
            return True
        self._refusals["access"] += 1
        return False

    async def serve(self, caller: PeerId, method: str, payload: bytes, timeout_s: float) -> bytes:
        """Run a handler for a peer; raises only SwarmErrors, of the kinds that cross a wire."""
        if len(payload) > self.settings.bulk.payload_bytes_max:
            self._refusals["oversized"] += 1
            self._check_size(len(payload))
        if method not in self._handlers:
            self._refusals["unknown method"] += 1
        answer = await serve_call(self._peer_id, caller, self._handlers, method, payload, timeout_s)
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

    async def _link_to(self, peer_id: PeerId, timeout_s: float) -> _Link:
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

    async def _dial(self, peer_id: PeerId) -> _Link:
        with trio.move_on_after(self.settings.dial_timeout_s):
            await self.network.travel(self._peer_id, peer_id, "dial", DIAL_BYTES)
            target = self.network.reachable(peer_id)
            if target is None or not target.settings.listen:
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
            raise InputError(f"a payload of {size} bytes exceeds the maximum, {most}")
