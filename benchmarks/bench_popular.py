"""Has thousands of honest peers meet one node, as they meet a bootstrap node, and times its answers to them.

The peers are light: a raw connection that says who it is, says hello, asks the node for its advert, for peers of a
skill and for the nearest nodes in the DHT, stays a little, and leaves.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import trio
from tests.hostile.attacks_connection import introduce
from tests.hostile.attacks_dht import FIND_NODE, KAD, kad_message
from tests.hostile.raw_channel import VERSION_1, RawChannel
from tests.hostile.raw_peer import DATA, FIN, RawPeer, address_of, sources

from benchmarks.harness import Row, judge
from benchmarks.hostile_gauges import Gauges
from swarmharness.node.process import NodeGroup, NodeLaunch
from swarmharness.protocol.codec import encode
from swarmharness.registry.messages import METHOD_ADVERT, METHOD_FIND, FindRequest

NAME = "popular"
DESCRIPTION = "5,000 honest peers meet one node within 15 minutes: it lives, its memory, its answers"
PEERS, WITHIN_S = 5_000, 900.0
STAY_S = (1.0, 30.0)
ANSWER_TIMEOUT_S = 20.0
RSS_GROWTH_MIB_MAX, ANSWER_MS_MAX = 150.0, 100.0
_PER_NETWORK = 2
_SETTLE_S = 60.0
_CONFIG = """version = 1

[network]
listen = ["/ip4/127.0.0.1/tcp/0"]

[execution]
skills = []

[limits]
loopback = true
"""


@dataclass(slots=True)
class _Met:
    """What the peers saw."""

    arrivals_ms: list[float] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    look_ups_ms: list[float] = field(default_factory=list)
    failed: dict[str, int] = field(default_factory=dict)


_options = argparse.Namespace(within=WITHIN_S)


def add_options(parser: argparse._ArgumentGroup) -> None:
    """Add what can be chosen here to the command line."""
    parser.add_argument("--within", type=float, default=WITHIN_S, help="seconds in which all come; default: 900")


def configure(options: argparse.Namespace) -> None:
    """Take the choices of the command line."""
    global _options
    _options = options


def run(quick: bool) -> list[Row]:
    """See the harness; the quick form has as many peers a second, for a shorter time."""
    peers = 150 if quick else PEERS
    with tempfile.TemporaryDirectory() as folder, NodeGroup() as group:
        (node,) = group.start(NodeLaunch(Path(folder) / "node", config=_CONFIG))
        met, gauges = _Met(), Gauges(node.process.pid)
        before_mib = gauges.sample()
        trio.run(_crowd, address_of(node.addresses), peers, met, gauges, 5.0 if quick else _SETTLE_S)
        after_mib, alive = gauges.sample(), node.process.poll() is None
    lost = sum(met.failed.values())
    for reason, count in met.failed.items():
        print(f"{count} peers: {reason}")
    return [
        judge("popular.alive", float(alive), "", at_least=1),
        judge("popular.memory_growth", gauges.rss_mib - before_mib, "MiB", at_most=RSS_GROWTH_MIB_MAX),
        judge("popular.memory_afterwards", after_mib, "MiB", floor=before_mib),
        judge("popular.answer_p50", statistics.median(met.answers_ms), "ms", at_most=ANSWER_MS_MAX),
        judge("popular.answer_p95", _p95(met.answers_ms), "ms", at_most=ANSWER_MS_MAX),
        judge("popular.dht_answer_p50", statistics.median(met.look_ups_ms), "ms", at_most=ANSWER_MS_MAX),
        judge("popular.dht_answer_p95", _p95(met.look_ups_ms), "ms", at_most=ANSWER_MS_MAX),
        judge("popular.arrival_p50", statistics.median(met.arrivals_ms), "ms"),
        judge("popular.lost", float(lost), "", at_most=0),
    ]


async def _crowd(address: tuple[str, int], peers: int, met: _Met, gauges: Gauges, settle_s: float) -> None:
    draw = random.Random(1)
    async with trio.open_nursery() as watching:
        watching.start_soon(gauges.watch)
        async with trio.open_nursery() as nursery:
            began_s = trio.current_time()
            for number, source in enumerate(sources(peers, per_prefix=_PER_NETWORK)):
                await trio.sleep_until(began_s + number * _options.within / PEERS)
                nursery.start_soon(_peer, address, source, draw.uniform(*STAY_S), met)
        await trio.sleep(settle_s)
        watching.cancel_scope.cancel()


async def _peer(address: tuple[str, int], source: str, stay_s: float, met: _Met) -> None:
    try:
        with trio.fail_after(ANSWER_TIMEOUT_S) as limit:
            began_s = time.perf_counter()
            async with await RawPeer.meet(address, source=source) as peer:
                met.arrivals_ms.append((time.perf_counter() - began_s) * 1e3)
                await introduce(peer)
                channel = await RawChannel.open(peer)
                for method, message in ((METHOD_ADVERT, VERSION_1), (METHOD_FIND, encode(FindRequest("file-type", 8)))):
                    began_s = time.perf_counter()
                    await channel.ask(method, message)
                    met.answers_ms.append((time.perf_counter() - began_s) * 1e3)
                began_s = time.perf_counter()
                await channel.heard(await _look_up(peer))
                met.look_ups_ms.append((time.perf_counter() - began_s) * 1e3)
                limit.deadline = trio.current_time() + stay_s + ANSWER_TIMEOUT_S
                with trio.move_on_after(stay_s):
                    await channel.attend()
    except* (OSError, trio.TooSlowError, trio.BrokenResourceError) as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        reason = f"{type(error).__name__}: {error}"
        met.failed[reason] = met.failed.get(reason, 0) + 1


async def _look_up(peer: RawPeer) -> int:
    """Ask for the nodes nearest to a random key, and return the stream of the answer."""
    number = await peer.open_stream(KAD)
    await peer.send_frame(DATA, FIN, number, kad_message(FIND_NODE, b"\x12\x20" + os.urandom(32)))
    return number


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1]
