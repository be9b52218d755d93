"""Pytest fixtures that give tests a swarm: of in-memory nodes, or of real node processes on loopback.

async def test_with_memory(memory_swarm):          # needs pytest-trio
    async with memory_swarm(3) as nodes:
        results = await nodes[0].map("echo", [b"a", b"b"])

def test_with_processes(process_swarm):
    nodes = process_swarm(3, skills=["text-embedding"])
    nodes[0].kill()

def test_in_virtual_time(simulated_swarm):         # thousands of nodes, faults, and checkers; see docs/simulation.md
    simulation = simulated_swarm(scenario_toml, seed=1, faults={"cut": Fault(kind="partition", at_s=60)})
    assert all(outcome.right for outcome in simulation.load.outcomes)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:  # a plugin is imported in every pytest run of its user, so it loads nothing by itself
    from swarmharness.node.process import NodeProcess
    from swarmharness.simulation.memory_swarm import MemoryNode
    from swarmharness.simulation.simulate import Simulation


class ProcessSwarm(Protocol):
    """Starts nodes that join the first one, and returns them when all are ready."""

    def __call__(self, count: int, *, skills: Sequence[str] | None = None, config: str = ...) -> list[NodeProcess]:
        """See the fixture `process_swarm`."""


@pytest.fixture
def memory_swarm() -> Callable[..., AbstractAsyncContextManager[list[MemoryNode]]]:
    """`async with memory_swarm(n) as nodes`: n nodes of real services on in-memory ports, all knowing each other.

    Every node serves the skill `echo`, whose output is its input. See `simulation.memory_swarm.memory_swarm`.
    """
    from swarmharness.simulation.memory_swarm import memory_swarm as make

    return make


@pytest.fixture
def simulated_swarm() -> Callable[..., Simulation]:
    """`simulated_swarm(scenario, seed=…, nodes=…, hours=…, faults=…)`: a whole swarm in virtual time, to its end.

    See `simulation.fixture.simulated_swarm`.
    """
    from swarmharness.simulation.fixture import simulated_swarm as run

    return run


@pytest.fixture
def process_swarm(tmp_path: Path) -> Iterator[ProcessSwarm]:
    """`process_swarm(n, skills=…, config=…)`: n real node processes on loopback, stopped when the test ends.

    `skills` None offers what `config`, TOML text, says: by default every skill whose model is in the cache.
    Each node's data directory, with its log, lies in the test's `tmp_path`.
    """
    from swarmharness.node.process import NodeGroup, NodeLaunch

    with NodeGroup() as group:

        def start(
            count: int, *, skills: Sequence[str] | None = None, config: str = "version = 1\n"
        ) -> list[NodeProcess]:
            first = len(group.nodes)
            paths = [tmp_path / f"node-{number}" for number in range(first, first + count)]
            offered = None if skills is None else tuple(skills)
            if not group.nodes:  # the others need the first one's address
                group.start(NodeLaunch(paths.pop(0), skills=offered, config=config))
            join = (group.nodes[0].join_address,)
            group.start(*[NodeLaunch(path, join, offered, config) for path in paths])
            return group.nodes[first:]

        yield start
