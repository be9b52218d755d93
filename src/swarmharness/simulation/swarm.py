"""A simulated swarm: its nodes, network and time, and who comes and goes; it holds no fault and makes no requests."""

from __future__ import annotations

import hashlib
from statistics import NormalDist

import trio

from swarmharness.identity import PeerId
from swarmharness.routing.fixedpoint import EXP_SCALE, exp_scaled, ln_micro
from swarmharness.simulation.checks import Checks
from swarmharness.simulation.disk import SimulatedDisk
from swarmharness.simulation.heap import Heap
from swarmharness.simulation.network import SimulatedNetwork
from swarmharness.simulation.node import SimulatedNode
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import Group, Scenario
from swarmharness.simulation.signatures import SignatureMemory, SimulatedIdentity
from swarmharness.simulation.trace import Trace
from swarmharness.simulation.traffic import Traffic
from swarmharness.simulation.virtual_time import VirtualClock
from swarmharness.simulation.weather import Weather
from swarmharness.simulation.work import Work

START_WITHIN_US = 10_000_000
"""Nodes that are there from the start come up within this time, not at one instant."""

_PARTS = 1000


class Swarm:
    """Everything in one place. Enter `network`, then `start` nodes in a nursery."""

    def __init__(self, scenario: Scenario, seed: int, clock: VirtualClock, signatures: SignatureMemory) -> None:
        self.scenario = scenario
        self.seed = seed
        self.clock = clock
        self.sleep = clock.sleep
        self.signatures = signatures
        self.trace = Trace()
        self.traffic = Traffic()
        self.work = Work(self.now_us, round(scenario.hours * 3_600_000_000))
        self.checks = Checks(self)
        weather = Weather(scenario.network, self.draw("weather"))
        self.network = SimulatedNetwork(weather, self.trace, self.traffic, self.checks, clock)
        self.nodes: list[SimulatedNode] = []
        self.by_peer: dict[PeerId, SimulatedNode] = {}
        self.ending = False
        self._choosing = self.draw("choosing")
        for name, group in scenario.nodes.items():
            for number in range(group.count):
                self.nodes.append(self._make(name, group, number))
                self.enrol(self.nodes[-1])
        self.heap = Heap(len(self.nodes))

    def draw(self, name: str) -> SeededRandomness:
        """Return a generator of its own for one purpose, so that purposes do not disturb one another."""
        return SeededRandomness(f"{self.seed}/{name}")

    def now_us(self) -> int:
        """Return the time since the start."""
        return self.clock.now_us

    def enrol(self, node: SimulatedNode) -> None:
        """Give a node's current id its number in the network; a node's index is that of its first id."""
        self.network.admit(node.peer_id)
        self.by_peer[node.peer_id] = node
        node.peer_ids.append(node.peer_id)

    def running(self) -> list[SimulatedNode]:
        """Return the nodes whose services run."""
        return [node for node in self.nodes if node.parts is not None]

    def some_running(self, count: int, *, besides: SimulatedNode) -> list[SimulatedNode]:
        """Return a few running nodes, by chance."""
        found: list[SimulatedNode] = []
        for _ in range(8 * count):
            node = self.nodes[self._choosing.below(len(self.nodes))]
            if node.parts is not None and node is not besides and node not in found:
                found.append(node)
                if len(found) == count:
                    break
        if not found:
            found = [node for node in self.nodes if node.parts is not None and node is not besides][:count]
        return found

    async def live(self, node: SimulatedNode) -> None:
        """Let a node come and go for as long as the simulation lasts."""
        group, randomness = node.group, node.randomness
        start_us = round(group.starts_s * 1e6)
        if node.index or start_us:
            await self.sleep((start_us + randomness.below(START_WITHIN_US)) / 1e6)
        while not self.ending:
            async with trio.open_nursery() as nursery:
                if group.session_s:
                    nursery.start_soon(self._leave, node)
                await node.run_session()
                nursery.cancel_scope.cancel()
            await self.sleep(self._away_s(node))

    def _away_s(self, node: SimulatedNode) -> float:
        if node.away_s is not None:
            away_s, node.away_s = node.away_s, None
            return away_s
        return (1_000_000 + node.randomness.exponential(round(node.group.away_s * 1e6))) / 1e6

    async def _leave(self, node: SimulatedNode) -> None:
        await self.sleep(node.randomness.draw(node.group.session_law, round(node.group.session_s * 1e6)) / 1e6)
        if node.randomness.chance(node.group.crash_permille):
            node.crash()
        else:
            node.stop()

    async def slow_down(self, node: SimulatedNode) -> None:
        """Make a node slow now and then, for as long as the simulation lasts."""
        group, randomness = node.group, self.draw(f"{node.group_name}/{node.number}/slow")
        mean_us = round(group.slowed_every_s * 1e6)
        while True:
            await self.sleep((1 + randomness.exponential(mean_us)) / 1e6)
            node.set_slow(group.slowed_percent)
            await self.sleep(group.slowed_for_s)
            node.set_slow(100)

    def _proficiencies(self, name: str, group: Group, number: int) -> dict[str, int]:
        if not group.proficiency_sigma:
            return {}
        randomness = self.draw(f"{name}/{number}/proficiency")
        return {skill: _log_normal(group.proficiency_sigma, randomness.below(_PARTS), _PARTS) for skill in group.serves}

    def _make(self, name: str, group: Group, number: int) -> SimulatedNode:
        randomness = self.draw(f"{name}/{number}")
        seed = hashlib.sha256(f"{self.seed}/{name}/{number}".encode()).digest()
        skew_us = round(group.clock_skew_s * 1e6)
        return SimulatedNode(
            swarm=self,
            index=len(self.nodes),
            group_name=name,
            group=group,
            number=number,
            randomness=randomness,
            disk=SimulatedDisk(self.draw(f"{name}/{number}/disk"), round(group.disk_ms * 1000)),
            speed_permille=speed_permille_of(group, number),
            proficiency_permille=self._proficiencies(name, group, number),
            ahead_us=randomness.below(2 * skew_us + 1) - skew_us,
            drift_ppm=randomness.below(2 * group.clock_drift_ppm + 1) - group.clock_drift_ppm,
            identity=SimulatedIdentity(seed, self.signatures),
        )


def _log_normal(sigma: float, part: int, parts: int) -> int:
    """Return, in thousandths, the middle of one of so many equally likely parts of a log-normal law around 1."""
    normal_micro = round(NormalDist().inv_cdf((2 * part + 1) / (2 * parts)) * 1_000_000)
    return max(1, 1000 * exp_scaled(round(sigma * 1_000_000) * normal_micro // 1_000_000) // EXP_SCALE)


def speed_permille_of(group: Group, number: int) -> int:
    """Spread the speeds of a group evenly in their logarithms, around its mean, however many nodes it has."""
    if group.speed_sigma:
        return max(1, round(group.speed * _log_normal(group.speed_sigma, number, group.count)))
    spread_permille = round(group.speed_spread * 1000)
    spread_micro = ln_micro(spread_permille) - ln_micro(1000)
    place_micro = (2 * number + 1) * 1_000_000 // (2 * group.count) - 500_000
    factor = exp_scaled(spread_micro * place_micro // 1_000_000)
    return max(1, round(group.speed * 1000) * factor // EXP_SCALE)
