"""Runs one simulation from scenario and seed to its outcome; it is the only place that starts trio.

One `trio.run`, one virtual clock, a seeded scheduler, no threads, no wall clock: equal arguments give equal traces.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import trio

from swarmharness.errors import SwarmError
from swarmharness.simulation.checks import Violation
from swarmharness.simulation.faults import run_fault
from swarmharness.simulation.heap import uncollected
from swarmharness.simulation.load import Load
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.scheduling import seeded_scheduling
from swarmharness.simulation.signatures import SignatureMemory, remembered_signatures
from swarmharness.simulation.swarm import Swarm
from swarmharness.simulation.virtual_time import VirtualClock

DRAIN_S = 15.0
"""After the last request: time to answer, and to settle."""

_log = logging.getLogger(__name__)


class StalledError(SwarmError):
    """No task can run, none waits for time, and the simulation has not ended: a deadlock."""


@dataclass(slots=True)
class Simulation:
    """A simulation that has ended, with everything that it knew."""

    scenario: Scenario
    seed: int
    swarm: Swarm
    load: Load
    digest: str
    violations: tuple[Violation, ...]


def simulate(scenario: Scenario, seed: int) -> Simulation:
    """Run a scenario to its end, or to the step after the first violation of an invariant."""
    signatures = SignatureMemory()
    clock = VirtualClock()
    logger = logging.getLogger("swarmharness")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # nodes report hardship, and here it is made on purpose
    try:
        with remembered_signatures(signatures), seeded_scheduling(seed), uncollected():
            return trio.run(_run, scenario, seed, clock, signatures, clock=clock)
    finally:
        logger.setLevel(level)


async def _run(scenario: Scenario, seed: int, clock: VirtualClock, signatures: SignatureMemory) -> Simulation:
    swarm = Swarm(scenario, seed, clock, signatures)
    load = Load(swarm)
    until_us = round(scenario.hours * 3_600_000_000)
    async with swarm.network:
        try:
            async with trio.open_nursery() as nursery:

                def step() -> None:
                    swarm.checks.step()
                    swarm.heap.step(clock.jumps)
                    if swarm.checks.violations and not swarm.ending:
                        swarm.ending = True
                        nursery.cancel_scope.cancel()

                clock.on_jump = step
                clock.on_stall = nursery.cancel_scope.cancel
                swarm.network.nursery = nursery
                for node in swarm.nodes:
                    nursery.start_soon(swarm.live, node)
                    if node.group.slowed_every_s:
                        nursery.start_soon(swarm.slow_down, node)
                await load.run(nursery, until_us)
                for position, fault in enumerate(scenario.faults.values()):
                    nursery.start_soon(run_fault, swarm, load, position, fault)
                await swarm.sleep(until_us / 1e6 + DRAIN_S)
                clock.on_jump = swarm.checks.last  # once, with everything at this instant done
                await swarm.sleep(0.0)
                swarm.ending = True
                nursery.cancel_scope.cancel()
        except* Exception as crashed:
            _log.critical("a service ended with an error", exc_info=crashed)
            swarm.checks.crashed(crashed)
        swarm.network.nursery = None
        clock.on_jump = lambda: None
        if clock.stalled:
            raise StalledError("every task of the simulation waits for another one")
        swarm.network.count_open_links()
    return Simulation(scenario, seed, swarm, load, swarm.trace.digest(), tuple(swarm.checks.violations))
