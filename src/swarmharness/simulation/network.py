"""The in-memory network under weather: messages are delayed, lost, doubled, counted and traced; it judges nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol

import trio

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.memory import MemoryLink, MemoryNetwork, MemoryTransport
from swarmharness.network.ports import Request
from swarmharness.network.settings import NetworkSettings
from swarmharness.simulation.trace import Event, Trace
from swarmharness.simulation.traffic import Count, Traffic
from swarmharness.simulation.virtual_time import VirtualClock
from swarmharness.simulation.weather import Partition, Weather

DUPLICATE_AFTER_S = 0.05
_STREAMS_OF_THEIR_OWN = frozenset({"dial", "dht"})
_UNDER_WAY_MAX = 64

Sleep = Callable[[float], Awaitable[None]]


class Role(Protocol):
    """What an adversary does with calls that reach it."""

    def answer(self, request: Request) -> bytes | None:
        """Answer in place of the node's own handler, or return None to let that answer."""


class Overseer(Protocol):
    """Whoever checks the invariants of the network."""

    def handled(self, node: int, method: str, deadline_s: float) -> None:
        """A handler starts for a call with this deadline (N-3)."""


class SimulatedNetwork(MemoryNetwork):
    """Nodes must be given a number with `admit` before they start."""

    def __init__(
        self, weather: Weather, trace: Trace, traffic: Traffic, overseer: Overseer, clock: VirtualClock
    ) -> None:
        super().__init__()
        self.weather = weather
        self.traffic = traffic
        self.overseer = overseer
        self.index: dict[PeerId, int] = {}
        self.roles: dict[PeerId, Role] = {}
        self.nursery: trio.Nursery | None = None
        """For what happens beside the nodes: late arrivals and copies, of which there are none without it."""
        self._trace = trace
        self._clock = clock
        self._codes: dict[str, int] = {}
        self._opened_s: dict[int, float] = {}
        self._latest_us: dict[PeerId, dict[PeerId, int]] = {}
        """When the latest message from one node to another arrives."""

    def admit(self, peer_id: PeerId) -> int:
        """Give a node its number and its place in the network."""
        number = self.index.setdefault(peer_id, len(self.index))
        if number == len(self.traffic.by_node):
            self.traffic.by_node.append(Count())
        self._latest_us.setdefault(peer_id, {})
        self.weather.place(peer_id)
        return number

    def node(self, peer_id: PeerId, settings: NetworkSettings | None = None) -> SimulatedTransport:
        """See `MemoryNetwork.node`."""
        return SimulatedTransport(self, peer_id, settings or NetworkSettings())

    def delay_s(self, left: PeerId, right: PeerId) -> float:
        """See `MemoryNetwork.delay_s`."""
        return self.weather.base_delay_us(left, right) / 1e6

    def is_cut(self, left: PeerId, right: PeerId) -> bool:
        """See `MemoryNetwork.is_cut`; a heartbeat needs both ways."""
        return self.weather.blocks(left, right) or self.weather.blocks(right, left)

    async def travel(self, left: PeerId, right: PeerId, kind: str, size_bytes: int) -> None:
        """See `MemoryNetwork.travel`; what is lost or blocked never ends, so its call waits for its deadline."""
        await self._clock.sleep(self._leave(left, right, kind, size_bytes))
        if self.weather.disturbed:
            await self._unclogged(left, right)
        if not self._arrive(left, right, kind, size_bytes):
            await trio.sleep_forever()

    def post(self, left: PeerId, right: PeerId, kind: str, size_bytes: int, arrived: Callable[[], object]) -> None:
        """See `MemoryNetwork.post`."""

        def arrive() -> object:
            if self.weather.disturbed and self.weather.clogged(left, right) is not None:
                if self.nursery is None:
                    return True  # the simulation has ended
                self.nursery.start_soon(arrive_late)
                return False
            return arrived() if self._arrive(left, right, kind, size_bytes) else True

        async def arrive_late() -> None:
            await self._unclogged(left, right)
            if self._arrive(left, right, kind, size_bytes):
                arrived()

        self._clock.later(self._leave(left, right, kind, size_bytes), arrive)

    def _leave(self, left: PeerId, right: PeerId, kind: str, size_bytes: int) -> float:
        """Send a message off; returns how many seconds it takes."""
        weather = self.weather
        self.traffic.sent(self.index[left], kind, size_bytes)
        delay_us = weather.delay_us(left, right, size_bytes)
        if kind not in _STREAMS_OF_THEIR_OWN and not weather.disturbed:
            delay_us = self._in_order_us(left, right, delay_us)
        return delay_us / 1e6

    async def _unclogged(self, left: PeerId, right: PeerId) -> None:
        while (clogged := self.weather.clogged(left, right)) is not None:
            await clogged.wait()

    def _arrive(self, left: PeerId, right: PeerId, kind: str, size_bytes: int) -> bool:
        """Tell whether a message gets there."""
        index, code = self.index, self._codes.setdefault(kind, len(self._codes))
        lost = self.weather.loses(left, right)
        self.traffic.lost += lost
        event = Event.LOST if lost else Event.MESSAGE
        self._trace.note(event, self._clock.now_us, index[left], index[right], code, size_bytes)
        return not lost

    def _in_order_us(self, left: PeerId, right: PeerId, delay_us: int) -> int:
        """Return a delay with which this message does not overtake the one before: a channel is one stream."""
        now_us = self._clock.now_us
        latest = self._latest_us[left]
        arrives_us = max(now_us + delay_us, latest.get(right, 0) + 1)
        latest[right] = arrives_us
        if len(latest) > _UNDER_WAY_MAX:
            self._latest_us[left] = {peer: at_us for peer, at_us in latest.items() if at_us > now_us}
        return arrives_us - now_us

    def part(self, partition: Partition) -> None:
        """Cut nodes off; their channels to the others end when heartbeats notice."""
        self.weather.partitions.append(partition)
        for peer_id in sorted(partition.inside):
            for link in self.links_of(peer_id):
                if self.is_cut(link.left.peer_id, link.right.peer_id):
                    self.doubt(link)

    def rejoin(self, partition: Partition) -> None:
        """Undo `part`."""
        self.weather.partitions.remove(partition)

    def add_link(self, left: MemoryTransport, right: MemoryTransport) -> MemoryLink:
        """See `MemoryNetwork.add_link`."""
        link = super().add_link(left, right)
        self._opened_s[id(link)] = trio.current_time()
        return link

    def remove_link(self, link: MemoryLink) -> None:
        """See `MemoryNetwork.remove_link`."""
        super().remove_link(link)
        self._count_heartbeats(link)

    def count_open_links(self) -> None:
        """Count the heartbeats of the channels that are still open; call it once, at the end."""
        for links in self._links.values():
            for link in links.values():
                self._count_heartbeats(link)

    def _count_heartbeats(self, link: MemoryLink) -> None:
        opened_s = self._opened_s.pop(id(link), None)
        if opened_s is not None:
            ends = self.index[link.left.peer_id], self.index[link.right.peer_id]
            self.traffic.heartbeats(ends, trio.current_time() - opened_s)


class SimulatedTransport(MemoryTransport):
    """A transport whose incoming calls may arrive twice, reach an adversary, and are checked against their deadline."""

    network: SimulatedNetwork

    async def serve(self, caller: PeerId, method: str, payload: bytes, timeout_s: float, deadline: float) -> bytes:
        """See `MemoryTransport.serve`."""
        await trio.lowlevel.checkpoint_if_cancelled()  # it arrives at the instant at which its caller gave up
        network = self.network
        network.overseer.handled(network.index[self._peer_id], method, deadline)
        if network.weather.duplicates(caller, self._peer_id):
            self._background.nursery.start_soon(self._serve_again, caller, method, payload, timeout_s)
        answer = self._play(caller, method, payload, timeout_s)
        return await super().serve(caller, method, payload, timeout_s, deadline) if answer is None else answer

    def _play(self, caller: PeerId, method: str, payload: bytes, timeout_s: float) -> bytes | None:
        role = self.network.roles.get(self._peer_id)
        return None if role is None else role.answer(Request(caller, method, payload, timeout_s))

    async def _serve_again(self, caller: PeerId, method: str, payload: bytes, timeout_s: float) -> None:
        with trio.move_on_after(timeout_s) as scope:
            await self.network._clock.sleep(DUPLICATE_AFTER_S)
            if not self._up or self.network.is_dead(self._peer_id):
                return
            if self._play(caller, method, payload, timeout_s) is None:
                with suppress(SwarmError):  # its caller has the other answer
                    await super().serve(caller, method, payload, timeout_s, scope.deadline)
