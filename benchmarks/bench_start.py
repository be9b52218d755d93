"""Measures how fast the command and a node start, and what idling costs, beside Python and a bare libp2p host."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Child, Row, child, cpu_s, interleave, judge, python_child, rss_mib

NAME = "start"
DESCRIPTION = "time of --help, time until a node is ready, memory and processor of an idle node"

_COMMAND = str(Path(sys.executable).with_name("swarmharness"))

# The least that any py-libp2p node costs: one TCP host, listening on loopback.
_BARE_HOST = """
import trio
from libp2p import new_host
from multiaddr import Multiaddr

async def main():
    address = Multiaddr("/ip4/127.0.0.1/tcp/0")
    host = new_host(listen_addrs=[address])
    async with host.run(listen_addrs=[address]):
        print("ready", flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def run(quick: bool) -> list[Row]:
    """Measure the three goals of starting and idling."""
    rounds = 3 if quick else 9
    help_s, python_s = interleave(
        lambda: _seconds([_COMMAND, "--help"]), lambda: _seconds(python_child("pass")), rounds=rounds
    )
    ready_s, host_s = interleave(_node_ready_s, _host_ready_s, rounds=rounds)
    return [
        judge("swarmharness --help", help_s, "s", floor=python_s, at_most=0.25),
        judge("node ready", ready_s, "s", floor=host_s, at_most=1.5),
        *_idle(window_s=5.0 if quick else 30.0),
    ]


def _seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _node_command(folder: str) -> list[str]:
    return [_COMMAND, "node", "start", "--data-dir", folder, "--json"]


def _wait_ready(node: Child) -> None:
    event = json.loads(node.wait_for('"event"'))
    if event["event"] != "ready":
        raise RuntimeError(f"the node's first event is {event}")


def _node_ready_s() -> float:
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with child(_node_command(folder)) as node:
            _wait_ready(node)
            return time.perf_counter() - began


def _host_ready_s() -> float:
    began = time.perf_counter()
    with child(python_child(_BARE_HOST)) as host:
        host.wait_for("ready")
        return time.perf_counter() - began


def _idle(*, window_s: float) -> list[Row]:
    """Watch a node and a bare host side by side for a while, after both have settled.

    The node finds no models in its cache, so that none is loaded; processes that it starts count as its own.
    """
    settle_s = 3.0
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as cache,
        child(_node_command(folder), environment={"XDG_CACHE_HOME": cache}) as node,
        child(python_child(_BARE_HOST)) as host,
    ):
        _wait_ready(node)
        host.wait_for("ready")
        time.sleep(settle_s)
        before_node_s, before_host_s = cpu_s(node.pid), cpu_s(host.pid)
        time.sleep(window_s)
        node_percent = 100 * (cpu_s(node.pid) - before_node_s) / window_s
        host_percent = 100 * (cpu_s(host.pid) - before_host_s) / window_s
        return [
            judge("idle memory, no model loaded", rss_mib(node.pid), "MiB", floor=rss_mib(host.pid), at_most=110),
            judge("idle processor", node_percent, "%", floor=host_percent, at_most=0.5),
        ]
