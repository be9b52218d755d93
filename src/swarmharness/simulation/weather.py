"""What the network does to messages: distances, loss, delay, copies, clogged links, partitions; it knows no service."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import trio

from swarmharness.identity import PeerId
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import NetworkModel


@dataclass(slots=True)
class Disturbance:
    """What is wrong around one node now; disturbances of both ends of a link add up."""

    loss_permille: int = 0
    duplicate_permille: int = 0
    delay_us: int = 0
    reorder_us: int = 0
    clogged: trio.Event | None = None


@dataclass(frozen=True, slots=True)
class Partition:
    """Nodes cut off from all others: both ways, or only what they send."""

    inside: frozenset[PeerId]
    one_way: bool = False

    def blocks(self, left: PeerId, right: PeerId) -> bool:
        """Tell whether a message from left to right is lost."""
        if self.one_way:
            return left in self.inside and right not in self.inside
        return (left in self.inside) != (right in self.inside)


@dataclass(slots=True)
class Weather:
    """Decides about each message; every answer is an integer from the seed."""

    model: NetworkModel
    randomness: SeededRandomness
    partitions: list[Partition] = field(default_factory=list)
    disturbed: dict[PeerId, Disturbance] = field(default_factory=dict)
    _distance_us: dict[PeerId, int] = field(default_factory=dict)
    _bits_per_us: int = 1

    def __post_init__(self) -> None:
        self._bits_per_us = max(1, round(self.model.mbit_per_s))

    def place(self, peer_id: PeerId) -> None:
        """Put a node somewhere in the network."""
        if peer_id in self._distance_us:
            return
        # A delay is the sum of two distances, and a distance is uniform between m and spread · m.
        mean_us, spread = round(self.model.delay_ms * 500), round(self.model.spread * 1000)
        least_us = 2000 * mean_us // (1000 + spread)
        self._distance_us[peer_id] = least_us + self.randomness.below(least_us * (spread - 1000) // 1000 + 1)

    def base_delay_us(self, left: PeerId, right: PeerId) -> int:
        """Return the usual one-way delay."""
        return self._distance_us[left] + self._distance_us[right]

    def delay_us(self, left: PeerId, right: PeerId, size_bytes: int) -> int:
        """Return how long this message is on its way, disturbances included."""
        base_us = self._distance_us[left] + self._distance_us[right]
        delay_us = base_us + size_bytes * 8 // self._bits_per_us
        if self.model.jitter_percent:
            delay_us += self.randomness.exponential(base_us * self.model.jitter_percent // 100)
        if self.disturbed:
            for node in self._around(left, right):
                delay_us += node.delay_us
                if node.reorder_us:
                    delay_us += self.randomness.below(node.reorder_us)
        return delay_us

    def loses(self, left: PeerId, right: PeerId) -> bool:
        """Tell whether this message gets lost: between the parts of a partition, or by chance."""
        if self.partitions and self.blocks(left, right):
            return True
        permille = self.model.loss_permille
        if self.disturbed:
            permille += sum(node.loss_permille for node in self._around(left, right))
        return permille > 0 and self.randomness.chance(permille)

    def duplicates(self, left: PeerId, right: PeerId) -> bool:
        """Tell whether this message arrives twice."""
        permille = self.model.duplicate_permille
        if self.disturbed:
            permille += sum(node.duplicate_permille for node in self._around(left, right))
        return self.randomness.chance(permille)

    def blocks(self, left: PeerId, right: PeerId) -> bool:
        """Tell whether nothing gets from left to right now."""
        return any(partition.blocks(left, right) for partition in self.partitions)

    def clogged(self, left: PeerId, right: PeerId) -> trio.Event | None:
        """Return what a message must wait for, if the link is clogged."""
        return next((node.clogged for node in self._around(left, right) if node.clogged is not None), None)

    def around(self, peer_id: PeerId) -> Disturbance:
        """Return what is wrong around a node, to be changed."""
        return self.disturbed.setdefault(peer_id, Disturbance())

    def clear(self, peer_ids: Iterable[PeerId]) -> None:
        """Forget disturbances that have become nothing."""
        for peer_id in peer_ids:
            if self.disturbed.get(peer_id) == Disturbance():
                del self.disturbed[peer_id]

    def _around(self, left: PeerId, right: PeerId) -> list[Disturbance]:
        return [node for node in (self.disturbed.get(left), self.disturbed.get(right)) if node is not None]
