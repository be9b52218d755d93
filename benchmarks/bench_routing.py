"""What one routing decision costs, and how long requests wait under it, beside other policies.

The cost is that of `Router.choose` on a warm table, among 100 and 5,000 candidates. Each decision follows a task that
was sent and one that was answered, as in a running job, so two rows are compiled anew every time. The floor is finding
the least of as many integers. The waiting is that of `routing_table.py`: the real router on the simulator. It prints
the table on standard error and draws `build/routing.svg`.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import trio

from benchmarks.harness import Row, interleave_async, judge, median
from benchmarks.routing_table import POLICIES, Cell, Outcome, measure, table
from swarmharness.identity import Identity, PeerId
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.registry.advert import Advert, DeviceInfo, SkillAdvert
from swarmharness.registry.entry import Known
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.router import Router
from swarmharness.simulation.svg import line_chart

NAME = "routing"
DESCRIPTION = "one decision among 100 and 5,000 candidates; latency and goodput of 50 nodes under eight policies"

SKILL = "text-embedding"
GOALS_US = {100: 100.0, 5_000: 1_000.0}
ROUND_TRIPS_US = 300
P99_RATIO = 0.55
"""Of least outstanding's."""
GOODPUT = 0.975
PROBES = 3.1
GOSSIP_COST = 2.0
COMPARED = ("utility", "prequal", "least-outstanding")
PLOT = Path(__file__).parent.parent / "build" / "routing.svg"


class FixedDirectory:
    """The router's port to the registry, with candidates that do not change."""

    def __init__(self, count: int) -> None:
        rng = random.Random(count)
        self.adverts = tuple(sorted((_advert(rng, number) for number in range(count)), key=lambda each: each.peer_id))

    async def candidates(self, skill: str) -> tuple[Advert, ...]:
        """See `SkillDirectory`."""
        return self.adverts

    def known(self) -> tuple[Known, ...]:
        """See `SkillDirectory`."""
        return tuple(Known(advert, True, "") for advert in self.adverts)

    def note_failure(self, peer_id: PeerId, reason: str) -> None:
        """See `SkillDirectory`."""


def run(quick: bool) -> list[Row]:
    """See `harness.Benchmark`."""
    decisions = [row for count in GOALS_US for row in trio.run(_measure, count, 5 if quick else 30)]
    return decisions + _policies(quick)


def _policies(quick: bool) -> list[Row]:
    main = [Cell("utility"), Cell("least-outstanding"), Cell("random")]
    others: list[Cell] = []
    if not quick:
        main = [Cell(policy) for policy in POLICIES]
        others = [Cell(policy, load) for load in (0.5, 0.9) for policy in POLICIES]
        others += [Cell("utility", variant="gossip 10 s")]
        others += [Cell(policy, variant=variant) for variant in ("proficiency", "liars") for policy in COMPARED]
    cells = main + others
    cores, counted_s = os.cpu_count() or 1, 10.0 if quick else 20.0
    outcomes = measure(main, (1,) if quick else (1, 2), counted_s=counted_s, processes=cores)
    outcomes += measure(others, (1,), counted_s=counted_s, processes=cores)
    print(table(outcomes), file=sys.stderr, flush=True)
    _draw(outcomes)
    by_cell = {outcome.cell: outcome for outcome in outcomes}
    return [row for cell in cells for row in _rows(cell, by_cell)]


def _rows(cell: Cell, by_cell: Mapping[Cell, Outcome]) -> list[Row]:
    outcome, main = by_cell[cell], cell == Cell("utility")
    name = ", ".join(filter(None, (cell.policy, f"load {cell.load:g}", cell.variant)))
    least = by_cell.get(replace(cell, policy="least-outstanding"))
    rows = [
        judge(
            f"p99, {name}",
            outcome.percentile_ms(99),
            "ms",
            floor=least.percentile_ms(99) if least else None,
            ratio_at_most=P99_RATIO if main else None,
        ),
        judge(f"goodput within 2 s, {name}", outcome.goodput, "", at_least=GOODPUT if main else None),
    ]
    if main:
        rows.append(judge(f"probes a request, {name}", outcome.probes, "", at_most=PROBES))
    if cell.variant == "gossip 10 s":
        cost = by_cell[Cell("utility")].goodput - outcome.goodput
        rows.append(judge("goodput that gossip every 10 s costs", 100 * cost, "points", at_most=GOSSIP_COST))
    return rows


def _draw(outcomes: Sequence[Outcome]) -> None:
    plain = [outcome for outcome in outcomes if not outcome.cell.variant]
    loads = sorted({outcome.cell.load for outcome in plain})
    found = {(outcome.cell.policy, outcome.cell.load): outcome.percentile_ms(99) for outcome in plain}
    lines = {policy: [found.get((policy, load)) for load in loads] for policy in POLICIES if (policy, 0.7) in found}
    PLOT.parent.mkdir(exist_ok=True)
    PLOT.write_text(line_chart(loads, lines, x_label="load", y_label="99th percentile, ms", dots=True))


async def _measure(count: int, rounds: int) -> list[Row]:
    directory = FixedDirectory(count)
    router = Router(
        directory,
        RoutingPolicy(),
        SystemClock(),
        SystemRandomness(),
        own_id=PeerId("nobody"),
        round_trip_us=lambda _: ROUND_TRIPS_US,
    )
    await router.choose(SKILL)
    model = directory.adverts[0].skills[0].model
    rng = random.Random(1)
    peers = [PeerId(advert.peer_id) for advert in directory.adverts]
    integers = [rng.getrandbits(60) for _ in range(count)]

    async def decide() -> float:
        times = []
        for _ in range(50):
            busy, done = rng.choice(peers), rng.choice(peers)
            router.note_sent(busy, model, 16)
            router.note_sent(done, model, 16)
            router.note_answer(done, model, items=16, service_us=80_000, queued_items=0, elapsed_us=90_000)
            started = time.perf_counter_ns()
            await router.choose(SKILL, 16, limit=16)
            times.append((time.perf_counter_ns() - started) / 1000)
        return median(times)

    async def least() -> float:
        times = []
        for _ in range(50):
            started = time.perf_counter_ns()
            min(integers)
            times.append((time.perf_counter_ns() - started) / 1000)
        return median(times)

    decision_us, floor_us = await interleave_async(decide, least, rounds=rounds)
    return [judge(f"decision, {count} candidates", decision_us, "us", floor=floor_us, at_most=GOALS_US[count])]


def _advert(rng: random.Random, number: int) -> Advert:
    digest = hashlib.sha256(SKILL.encode()).digest()
    skill = SkillAdvert(
        name=SKILL,
        version="1",
        kind=SKILL,
        model_digest=digest,
        comparison_class="fp32",
        batch_invariant=True,
        batch_items_max=32,
        service_us=rng.randrange(1_000, 100_000),
        price_microcredits=rng.randrange(1, 100_000),
        provider="CPUExecutionProvider",
        queued_items=rng.randrange(4),
    )
    peer_id = Identity(hashlib.sha256(number.to_bytes(4, "big")).digest()).peer_id
    return Advert(peer_id, 1, 1, 2, (), DeviceInfo(4, 8192, (), ()), (skill,))
