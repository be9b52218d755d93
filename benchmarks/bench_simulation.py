"""What a simulation costs, and what a node sends: swarms of 100, 1,000 and 10,000 nodes, and the shipped home.

Seconds are of one core (processor time, not wall time). The swarms start, join and work. The floor of an event is one
sleeper woken by the virtual clock. Heartbeats of idle channels are no events and are counted apart.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import trio

from benchmarks.harness import Row, judge
from swarmharness.simulation.scenario import load_scenario
from swarmharness.simulation.simulate import Simulation, simulate
from swarmharness.simulation.traffic import HEARTBEAT
from swarmharness.simulation.virtual_time import VirtualClock

NAME = "simulation"
DESCRIPTION = "an event of a simulated swarm of 100 and of 1,000 nodes, its memory and traffic, and the home scenario"

SCENARIOS = Path(__file__).parents[1] / "configs" / "scenarios"
SLEEPS = 100_000


def run(quick: bool) -> list[Row]:
    """See `harness.Benchmark`."""
    floor_us = _sleeper_us()
    home_s, _ = _timed("home", None, None)
    hours = 0.02 if quick else 1.0
    rows = [judge("home scenario", home_s, "s", at_most=12)]
    costs = {}
    for nodes in (30, 100) if quick else (100, 1000):
        spent_s, simulation = _timed("internet-1000", nodes, hours)
        costs[nodes] = spent_s / simulation.swarm.trace.events * 1e6
        rows.append(judge(f"event, {nodes} nodes", costs[nodes], "us", floor=floor_us))
        rows += _traffic(simulation, hours, nodes)
        if nodes == 1000:
            rows.append(judge("1,000 nodes, one hour", spent_s, "s", at_most=300))
            rows.append(judge("memory until here", _memory_mib(), "MiB", at_most=2048))
    small, large = costs
    rows.append(
        judge(f"cost of an event, {large} against {small} nodes", costs[large] / costs[small], "x", at_most=1.5)
    )
    if not quick:
        spent_s, simulation = _timed("internet-10000", None, None)
        rows.append(judge("10,000 nodes, registry and gossip", spent_s, "s"))
        rows += _traffic(simulation, simulation.scenario.hours, 10_000)
        rows.append(judge("memory", _memory_mib(), "MiB"))
    return rows


def _timed(name: str, nodes: int | None, hours: float | None) -> tuple[float, Simulation]:
    scenario = load_scenario(SCENARIOS / f"{name}.toml").scaled(nodes=nodes, hours=hours)
    started = time.process_time()
    simulation = simulate(scenario, 1)
    return time.process_time() - started, simulation


def _traffic(simulation: Simulation, hours: float, nodes: int) -> list[Row]:
    kinds = simulation.swarm.traffic.by_kind
    sent = [count for kind, count in kinds.items() if kind != HEARTBEAT]
    share = simulation.scenario.count * hours
    figures = {
        "messages for a node and hour": sum(count.messages for count in sent) / share,
        "heartbeats for a node and hour": kinds[HEARTBEAT].messages / share,
        "kB for a node and hour, without heartbeats": sum(count.size_bytes for count in sent) / share / 1e3,
    }
    return [judge(f"{name}, {nodes} nodes", value, "") for name, value in figures.items()]


def _memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _sleeper_us() -> float:
    clock = VirtualClock()

    async def main() -> None:
        for _ in range(SLEEPS):
            await clock.sleep(0.001)

    started = time.process_time()
    trio.run(main, clock=clock)
    return (time.process_time() - started) / SLEEPS * 1e6
