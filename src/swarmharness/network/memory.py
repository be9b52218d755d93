"""The in-memory twin of the libp2p transport, with faults to inject; nothing of it leaves the process.

Time passes only through `trio.sleep`, so a `MockClock` drives it. `kill`, `move`, `cut` and `set_delay` are the faults:
a killed node's peers notice at once (the kernel resets its connections), a cut link only when the heartbeat gives up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import trio

from swarmharness.errors import DeadlineError, PeerLostError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.background import Background
from swarmharness.network.heartbeat import MISSED_MAX
from swarmharness.network.memory_transport import DIAL_BYTES, MemoryTransport
from swarmharness.network.ports import PeerEvent
from swarmharness.network.settings import NetworkSettings

if TYPE_CHECKING:
    from swarmharness.network.memory_dht import MemoryDht

_Pair = frozenset[PeerId]

__all__ = ["DIAL_BYTES", "MemoryLink", "MemoryNetwork", "MemoryTransport"]


class MemoryNetwork:
    """The world that the nodes of a test or simulation live in; use as an async context manager."""

    def __init__(self, *, delay_s: float = 0.0) -> None:
        self._delay_s = delay_s
        self._delays: dict[_Pair, float] = {}
        self._cut: set[_Pair] = set()
        self._dead: set[PeerId] = set()
        self._nodes: dict[PeerId, MemoryTransport] = {}
        self._links: dict[PeerId, dict[PeerId, MemoryLink]] = {}
        self.dhts: dict[PeerId, MemoryDht] = {}
        self._background = Background()

    async def __aenter__(self) -> Self:
        await self._background.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._background.close(error)

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

    def move(self, peer_id: PeerId) -> None:
        """Give a node another address: its connections are lost, and nobody can dial it by the old one."""
        node = self._nodes.get(peer_id)
        if node is not None and node.listening:
            node.move()
            for link in self.links_of(peer_id):
                link.end("the connection broke", lost=True)

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

    def post(self, left: PeerId, right: PeerId, kind: str, size_bytes: int, arrived: Callable[[], object]) -> None:
        """Send a message for which nobody waits; `arrived` is called, outside of any task, if it gets there.

        If that returns True, it woke no task.
        """
        self._background.nursery.start_soon(self._deliver, left, right, arrived)

    async def _deliver(self, left: PeerId, right: PeerId, arrived: Callable[[], object]) -> None:
        await trio.sleep(self.delay_s(left, right))
        if not self.is_cut(left, right):
            arrived()

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

    def link(self, left: PeerId, right: PeerId) -> MemoryLink | None:
        """Return the channel between two nodes."""
        links = self._links.get(left)
        return None if links is None else links.get(right)

    def links_of(self, peer_id: PeerId) -> list[MemoryLink]:
        """Return the channels of one node, oldest first."""
        return list(self._links.get(peer_id, {}).values())

    def neighbours(self, peer_id: PeerId) -> tuple[PeerId, ...]:
        """Return the nodes at the other ends of one node's channels, oldest first."""
        return tuple(self._links.get(peer_id, ()))

    def add_link(self, left: MemoryTransport, right: MemoryTransport) -> MemoryLink:
        """Make a channel; both nodes are told."""
        link = MemoryLink(self, left, right)
        self._links.setdefault(left.peer_id, {})[right.peer_id] = link
        self._links.setdefault(right.peer_id, {})[left.peer_id] = link
        left.tell(PeerEvent(right.peer_id, connected=True))
        right.tell(PeerEvent(left.peer_id, connected=True))
        return link

    def remove_link(self, link: MemoryLink) -> None:
        """Forget an ended channel."""
        for node in (link.left, link.right):
            links = self._links.get(node.peer_id, {})
            links.pop(link.other(node.peer_id).peer_id, None)
            if not links:
                self._links.pop(node.peer_id, None)

    def doubt(self, link: MemoryLink) -> None:
        """Nothing gets through a link now: it ends unless that changes before the heartbeat gives up."""
        self._background.nursery.start_soon(link.die_silently)

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
        self._background.nursery.start_soon(node.reconnect, peer_id)


class MemoryLink:
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

    async def carry(self, caller: PeerId, method: str, payload: bytes, timeout_s: float, deadline: float) -> bytes:
        """Bring a call to the other end and its answer back; raises as `Transport.call`."""
        target, network = self.other(caller), self._network
        with trio.CancelScope(deadline=deadline) as flight:
            self._flights.add(flight)
            try:
                await network.travel(caller, target.peer_id, method, len(payload))
                try:
                    answer = await target.answer(caller, method, payload, timeout_s, deadline)
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


_Link = MemoryLink
