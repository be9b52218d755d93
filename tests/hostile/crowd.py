"""Crowds of raw peers at full size, against a real node process; run `python -m tests.hostile.crowd --help`.

The quick tests try the same with small limits. Prints one JSON line for each attack, and nothing of it is asserted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psutil
import trio

from swarmharness.node.process import NodeGroup, NodeLaunch, NodeProcess
from tests.hostile.raw_peer import RawPeer, address_of, sources, tcp_address

CONFIG = 'version = 1\n\n[network]\nlisten = ["/ip4/127.0.0.1/tcp/0"]\n\n[execution]\nskills = []\n'
SETTLE_S = 8.0


async def stay(address: tuple[str, int], source: str, stay_s: float, outcome: Counter[str]) -> None:
    """Meet the node as a new identity, say who this is, ask who that is, and leave after `stay_s`; never raises."""
    try:
        with trio.fail_after(stay_s + 60):
            async with await RawPeer.meet(address, source=source) as peer:
                await peer.push_identify([tcp_address(source, 4001)])
                outcome["met"] += 1
                answer = await peer.read_stream(await peer.open_stream("/ipfs/id/1.0.0"))
                outcome["told"] += b"/swarmharness/channel/1" in answer
                with trio.move_on_after(stay_s):
                    await peer.drain()
                    outcome["dropped by the node"] += 1
    except (OSError, ConnectionError, trio.TooSlowError, trio.BrokenResourceError) as error:
        outcome[type(error).__name__] += 1


async def crowd(
    address: tuple[str, int],
    count: int,
    stay_s: float,
    outcome: Counter[str],
    *,
    at_a_time: int = 64,
    pause_s: float = 0.25,
) -> None:
    """Have `count` identities meet the node, `at_a_time` of them every `pause_s`."""
    async with trio.open_nursery() as nursery:
        for batch in _batches(list(sources(count)), at_a_time):
            for source in batch:
                nursery.start_soon(stay, address, source, stay_s, outcome)
            await trio.sleep(pause_s)


def _batches(items: list[str], size: int) -> Iterable[list[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))


async def attack(node: NodeProcess, name: str, count: int, rounds: int, stay_s: float) -> dict[str, Any]:
    """Run one attack and return what became of the node."""
    process = psutil.Process(node.process.pid)
    outcome: Counter[str] = Counter()
    before_mib, started = process.memory_info().rss / 2**20, time.monotonic()
    address = address_of(node.addresses)
    peak_mib = before_mib
    for _ in range(rounds):
        if node.process.poll() is None:
            await crowd(address, count, stay_s, outcome)
            if node.process.poll() is None:
                peak_mib = max(peak_mib, process.memory_info().rss / 2**20)
    await trio.sleep(SETTLE_S)
    alive = node.process.poll() is None
    return {
        "attack": name,
        "alive": alive,
        "exit_status": node.process.poll(),
        "seconds": round(time.monotonic() - started, 1),
        "rss_mib": [round(before_mib), round(peak_mib), round(process.memory_info().rss / 2**20) if alive else None],
        "descriptors": process.num_fds() if alive else None,
        "processor_s": round(sum(process.cpu_times()[:2]), 1) if alive else None,
        "outcome": dict(outcome),
    }


ATTACKS: dict[str, dict[str, Any]] = {
    "waves": {"count": 500, "rounds": 3, "stay_s": 2.5},
    "one-go": {"count": 1300, "rounds": 1, "stay_s": 2.5},
    "squatters": {"count": 530, "rounds": 1, "stay_s": 30.0},
}
"""`waves` and `one-go` are D1 of the issue, `squatters` is D7."""


def main() -> None:
    """Run the attacks that are named, each against a node of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attacks", nargs="*", default=list(ATTACKS), help=f"of {', '.join(ATTACKS)}; default: all")
    parser.add_argument("--config", default="", help="TOML that is added to the node's configuration")
    chosen = parser.parse_args()
    for name in chosen.attacks:
        with tempfile.TemporaryDirectory() as folder, NodeGroup() as group:
            (node,) = group.start(NodeLaunch(Path(folder) / "node", config=CONFIG + chosen.config))
            print(json.dumps(trio.run(_named, node, name)), flush=True)
            if node.process.poll() is not None:
                log = (Path(folder) / "node" / "node.log").read_text()
                print(log[-2000:], file=sys.stderr)


async def _named(node: NodeProcess, name: str) -> dict[str, Any]:
    return await attack(node, name, **ATTACKS[name])


if __name__ == "__main__":
    main()
