"""What a simulation costs: an event in a swarm of 100 and of 1,000 nodes, and the shipped home.

Seconds are of one core. Both swarms start, join and work for some minutes of virtual time. The floor of an event is one
sleeper woken by the virtual clock.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import trio

from benchmarks.harness import Row, judge
from swarmharness.simulation.scenario import load_scenario
from swarmharness.simulation.simulate import Simulation, simulate
from swarmharness.simulation.virtual_time import VirtualClock

NAME = "simulation"
DESCRIPTION = "an event of a simulated swarm of 100 and of 1,000 nodes, its memory and traffic, and the home scenario"

SCENARIOS = Path(__file__).parents[1] / "configs" / "scenarios"
SLEEPS = 100_000


def run(quick: bool) -> list[Row]:
    """See `harness.Benchmark`."""
    floor_us = _sleeper_us()
    home_s, _ = _timed("home", None, None)
    hours = 0.02 if quick else 0.1
    rows = [judge("home scenario", home_s, "s", at_most=12)]
    costs = {}
    for nodes in (30, 100) if quick else (100, 1000):
        spent_s, simulation = _timed("internet-1000", nodes, hours)
        costs[nodes] = spent_s / simulation.swarm.trace.events * 1e6
        rows.append(judge(f"event, {nodes} nodes", costs[nodes], "us", floor=floor_us))
        rows.append(judge(f"messages for a node and hour, {nodes} nodes", _messages(simulation, hours), "messages"))
    small, large = costs
    rows.append(
        judge(f"cost of an event, {large} against {small} nodes", costs[large] / costs[small], "x", at_most=1.5)
    )
    rows.append(judge("memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB", at_most=2048))
    return rows


def _timed(name: str, nodes: int | None, hours: float | None) -> tuple[float, Simulation]:
    scenario = load_scenario(SCENARIOS / f"{name}.toml").scaled(nodes=nodes, hours=hours)
    started = time.process_time()
    simulation = simulate(scenario, 1)
    return time.process_time() - started, simulation


def _messages(simulation: Simulation, hours: float) -> float:
    sent = sum(count.messages for count in simulation.swarm.traffic.by_kind.values())
    return sent / simulation.scenario.count / hours


def _sleeper_us() -> float:
    clock = VirtualClock()

    async def main() -> None:
        for _ in range(SLEEPS):
            await clock.sleep(0.001)

    started = time.process_time()
    trio.run(main, clock=clock)
    return (time.process_time() - started) / SLEEPS * 1e6
