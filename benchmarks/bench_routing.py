"""What one routing decision costs: `Router.choose` on a warm table, among 100 and 5,000 candidates.

Each decision follows a task that was sent and one that was answered, as in a running job, so two rows are compiled anew
every time. The floor is finding the least of as many integers. The table of policies comes with the simulator.
"""

from __future__ import annotations

import hashlib
import random
import time

import trio

from benchmarks.harness import Row, interleave_async, judge, median
from swarmharness.identity import Identity, PeerId
from swarmharness.ports import SystemClock, SystemRandomness
from swarmharness.registry.advert import Advert, DeviceInfo, SkillAdvert
from swarmharness.registry.entry import Known
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.router import Router

NAME = "routing"
DESCRIPTION = "one routing decision among 100 and 5,000 candidates"

SKILL = "text-embedding"
GOALS_US = {100: 100.0, 5_000: 1_000.0}
ROUND_TRIPS_US = 300


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
    return [row for count in GOALS_US for row in trio.run(_measure, count, 5 if quick else 30)]


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
    rng = random.Random(1)
    peers = [PeerId(advert.peer_id) for advert in directory.adverts]
    integers = [rng.getrandbits(60) for _ in range(count)]

    async def decide() -> float:
        times = []
        for _ in range(50):
            busy, done = rng.choice(peers), rng.choice(peers)
            router.note_sent(busy, SKILL, 16)
            router.note_sent(done, SKILL, 16)
            router.note_answer(done, SKILL, items=16, service_us=80_000, queued_items=0, elapsed_us=90_000)
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
        task=SKILL,
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
