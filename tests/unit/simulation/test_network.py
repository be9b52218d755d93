from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from swarmharness.identity import PeerId
from swarmharness.simulation.network import SimulatedNetwork
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import NetworkModel
from swarmharness.simulation.trace import Trace
from swarmharness.simulation.traffic import Traffic
from swarmharness.simulation.virtual_time import VirtualClock
from swarmharness.simulation.weather import Partition, Weather

A, B = PeerId("a"), PeerId("b")


class Overseer:
    def handled(self, node: int, method: str, deadline_s: float) -> None:
        raise AssertionError


def played(play: Callable[[SimulatedNetwork, list[int]], Awaitable[None]]) -> tuple[list[int], SimulatedNetwork]:
    """Let `play` act on a network of two; returns when each message arrived that it posted with the list's `append`."""
    clock, arrivals = VirtualClock(), list[int]()
    model = NetworkModel(delay_ms=10, spread=1, jitter_percent=0)

    async def main() -> SimulatedNetwork:
        network = SimulatedNetwork(Weather(model, SeededRandomness("weather")), Trace(), Traffic(), Overseer(), clock)
        async with network, trio.open_nursery() as nursery:
            network.nursery = nursery
            for peer in (A, B):
                network.admit(peer)
            await play(network, arrivals)
            await clock.sleep(60)
        return network

    return arrivals, trio.run(main, clock=clock)


def post(network: SimulatedNetwork, arrivals: list[int]) -> None:
    def arrived() -> bool:
        arrivals.append(network._clock.now_us)
        return True

    network.post(A, B, "dht", 0, arrived)


def test_what_is_posted_arrives_after_its_delay_and_is_counted() -> None:
    async def play(network: SimulatedNetwork, arrivals: list[int]) -> None:
        post(network, arrivals)

    arrivals, network = played(play)
    assert arrivals == [10_000]
    assert network.traffic.by_kind["dht"].messages == 1
    assert network._trace.events == 1


def test_what_is_posted_over_a_clogged_link_arrives_when_that_opens() -> None:
    async def play(network: SimulatedNetwork, arrivals: list[int]) -> None:
        opened = network.weather.around(B).clogged = trio.Event()
        post(network, arrivals)
        await network._clock.sleep(5)
        network.weather.around(B).clogged = None
        opened.set()

    assert played(play)[0] == [5_000_000]


def test_what_is_posted_between_the_parts_of_a_partition_is_lost() -> None:
    async def play(network: SimulatedNetwork, arrivals: list[int]) -> None:
        network.part(Partition(frozenset((A,))))
        post(network, arrivals)

    arrivals, network = played(play)
    assert (arrivals, network.traffic.lost) == ([], 1)


def test_what_arrives_over_a_clogged_link_when_the_simulation_has_ended_is_dropped() -> None:
    """Found by `simulate --random 32`: it began a task in a nursery that was closed, which ended trio."""

    async def play(network: SimulatedNetwork, arrivals: list[int]) -> None:
        network.weather.around(B).clogged = trio.Event()
        post(network, arrivals)
        network.nursery = None

    assert played(play)[0] == []
