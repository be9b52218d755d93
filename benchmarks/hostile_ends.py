"""The processes of one attack: the node, the sink, and the attacker that is aimed at either; it judges nothing."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio
from tests.hostile.attack import Attack
from tests.hostile.raw_peer import address_of

from benchmarks.harness import child
from benchmarks.hostile_honest import SKILL, Honest
from benchmarks.measured_node import REPORT
from swarmharness.errors import UnavailableError
from swarmharness.identity import PeerId
from swarmharness.node.client import client_node
from swarmharness.node.config import parse_config
from swarmharness.node.config_schema import Source
from swarmharness.node.control import open_control
from swarmharness.node.data_dir import DataDir
from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess

_NODE = """version = 1

[network]
listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"]
{psk}
[execution]
threads = 1

[limits]
loopback = true
"""
_CLIENT = "version = 1\n\n[network]\n{psk}\n[execution]\nskills = []\n"
_ALLOCATOR_WAIT_S = 15.0
_ATTACKER_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """A node under attack."""

    node: NodeProcess
    address: tuple[str, int]
    """Of the listener that is attacked."""

    async def status(self) -> dict[str, Any]:
        """Return what the node tells its user; empty if it does not answer."""
        try:
            with trio.fail_after(20):
                async with open_control(self.node.data_dir) as control:
                    status: dict[str, Any] = await control.call("node.status", {})
                    return status
        except Exception:  # a node that was hurt may fail in any way
            return {}

    async def look_for_skills(self) -> None:
        """Have the node look for a skill that nobody has, and then for another, until cancelled."""
        async with open_control(self.node.data_dir) as control:
            while True:
                with contextlib.suppress(UnavailableError):
                    await control.call("router.explain", {"skill": f"none-{uuid.uuid4().hex}"})
                await trio.sleep(1)

    async def allocator(self) -> dict[str, float]:
        """Return what the node's allocator holds, in MiB; has it return that to the system."""
        report = self.node.data_dir.path / REPORT
        if self.node.process.poll() is None:
            os.kill(self.node.process.pid, signal.SIGUSR1)
            with trio.move_on_after(_ALLOCATOR_WAIT_S):
                while not report.exists():
                    await trio.sleep(0.1)
        found: dict[str, float] = json.loads(report.read_text()) if report.exists() else {}
        return found


@contextmanager
def target(base: Path, attack: Attack) -> Iterator[Target]:
    """Run a node with a real skill."""
    with NodeGroup() as group:
        config = _NODE.format(psk=_psk(base, attack))
        launch = NodeLaunch(base / "node", skills=(SKILL,), config=config, program=("-m", "benchmarks.measured_node"))
        (node,) = group.start(launch)
        yield Target(node, address_of(node.addresses, websocket=attack.listener == "websocket"))


@asynccontextmanager
async def honest_at(base: Path, attack: Attack, target: Target) -> AsyncIterator[Honest]:
    """A client node that knows the attacked one and has work for it."""
    text = _CLIENT.format(psk=_psk(base, attack))
    config = parse_config(Source("the benchmark's client", text))
    newcomers = None if attack.listener == "private" else address_of(target.node.addresses)
    async with client_node(DataDir.at(base / "client"), config, [target.node.join_address]) as api:
        honest = Honest(api, PeerId(target.node.peer_id), newcomers)
        await honest.warm_up()
        yield honest


@contextmanager
def sink() -> Iterator[tuple[str, int]]:
    """Run a sink and yield its address."""
    with child([sys.executable, "-m", "tests.hostile.sink"]) as process:
        yield "127.0.0.1", int(process.line())


async def attack_once(
    attack: Attack, address: tuple[str, int], identities: int, seconds: float, more: Sequence[str] = ()
) -> dict[str, int]:
    """Run the attacker to its end; returns what its connections met with."""
    scale = ["--identities", str(identities), "--seconds", str(seconds), *more]
    command = [sys.executable, "-m", "tests.hostile.attacker", attack.name, address[0], str(address[1]), *scale]
    with trio.move_on_after(seconds + _ATTACKER_GRACE_S):
        ended = await trio.run_process(command, capture_stdout=True, check=False)
        outcome: dict[str, int] = json.loads(ended.stdout) if ended.returncode == 0 else {"attacker failed": 1}
        return outcome
    return {"attacker did not end": 1}


def _psk(base: Path, attack: Attack) -> str:
    if attack.listener != "private":
        return ""
    path = base / "psk"
    if not path.exists():
        path.touch(0o600)
        path.write_text("5a" * 32)
    return f'psk_file = "{path}"\n'
