"""Faults on schedule: each begins, strikes some nodes, and ends; each is a few lines, and any of them may overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import trio

from swarmharness.simulation.load import Load
from swarmharness.simulation.node import SimulatedNode
from swarmharness.simulation.scenario import Fault
from swarmharness.simulation.swarm import Swarm
from swarmharness.simulation.trace import Event
from swarmharness.simulation.weather import Partition

_Struck = Sequence[SimulatedNode]


async def run_fault(swarm: Swarm, load: Load, position: int, fault: Fault) -> None:
    """Wait for a fault's time, let it strike, and end it."""
    randomness = swarm.draw(f"fault/{position}")
    await swarm.sleep(fault.at_s)
    members = [node for node in swarm.nodes if not fault.groups or node.group_name in fault.groups]
    chosen = randomness.sample(len(members), -(-len(members) * fault.percent // 100)) if members else []
    struck = [members[index] for index in chosen]
    swarm.trace.note(Event.FAULT, swarm.now_us(), position, 1, len(struck))
    swarm.checks.fault(1)
    with _FAULTS[fault.kind](swarm, load, fault, struck):
        await swarm.sleep(fault.for_s)
    swarm.checks.fault(-1)
    swarm.trace.note(Event.FAULT, swarm.now_us(), position, 0, len(struck))


@contextmanager
def _partition(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    inside = frozenset(node.peer_id for node in struck)
    partition = Partition(inside, one_way=fault.kind == "one-way")
    swarm.network.part(partition)
    yield
    swarm.network.rejoin(partition)


@contextmanager
def _disturbance(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    names = {"loss": "loss_permille", "duplicate": "duplicate_permille", "delay": "delay_us", "reorder": "reorder_us"}
    name = names[fault.kind]
    amount = fault.amount * (1000 if name.endswith("_us") else 1)
    peers = [node.peer_id for node in struck]
    for peer_id in peers:
        around = swarm.network.weather.around(peer_id)
        setattr(around, name, getattr(around, name) + amount)
    yield
    for peer_id in peers:
        around = swarm.network.weather.around(peer_id)
        setattr(around, name, getattr(around, name) - amount)
    swarm.network.weather.clear(peers)


@contextmanager
def _clog(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    opened = trio.Event()
    peers = [node.peer_id for node in struck]
    for peer_id in peers:
        swarm.network.weather.around(peer_id).clogged = opened
    yield
    for peer_id in peers:
        swarm.network.weather.around(peer_id).clogged = None
    opened.set()
    swarm.network.weather.clear(peers)


@contextmanager
def _outage(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    for node in struck:
        if node.up:
            node.away_s = max(0.001, fault.for_s)
            if fault.kind == "stop":
                node.stop()
            else:
                node.crash(lost_writes=fault.amount if fault.kind == "crash" else 0)
            if fault.kind == "restore":
                node.restore(swarm.now_us() - fault.amount * 1_000_000)
    yield


@contextmanager
def _move(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    for node in struck:
        if node.up:
            swarm.network.move(node.peer_id)
    yield


@contextmanager
def _slow_disk(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    for node in struck:
        node.disk.slower_us += fault.amount * 1000
    yield
    for node in struck:
        node.disk.slower_us -= fault.amount * 1000


@contextmanager
def _slow_node(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    for node in struck:
        node.set_slow(max(1, fault.amount))
    yield
    for node in struck:
        node.set_slow(100)


@contextmanager
def _clock(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    for node in struck:
        _set_clock(node, fault.amount)
    yield
    for node in struck:
        _set_clock(node, -fault.amount)


def _set_clock(node: SimulatedNode, ahead_s: int) -> None:
    node.ahead_us += ahead_s * 1_000_000
    if node.clock is not None:
        node.clock.ahead_us += ahead_s * 1_000_000


@contextmanager
def _surge(swarm: Swarm, load: Load, fault: Fault, struck: _Struck) -> Iterator[None]:
    names = fault.groups or tuple(swarm.scenario.nodes)
    for name in names:
        load.surge_percent[name] = max(1, fault.amount)
    yield
    for name in names:
        load.surge_percent.pop(name, None)


_Strike = Callable[[Swarm, Load, Fault, _Struck], AbstractContextManager[None]]

_FAULTS: dict[str, _Strike] = {
    "partition": _partition,
    "one-way": _partition,
    "loss": _disturbance,
    "duplicate": _disturbance,
    "delay": _disturbance,
    "reorder": _disturbance,
    "clog": _clog,
    "crash": _outage,
    "stop": _outage,
    "move": _move,
    "restore": _outage,
    "slow-disk": _slow_disk,
    "slow-node": _slow_node,
    "clock": _clock,
    "surge": _surge,
}
