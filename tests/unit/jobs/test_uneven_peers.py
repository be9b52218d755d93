"""Two peers are never slower than one: the plan alone, with exact speeds, in a simulation of two queues."""

from __future__ import annotations

import pytest

from swarmharness.jobs.dispatch import CHUNKS_PER_PEER
from swarmharness.jobs.plan import Chunk, JobPlan, PlanSettings


def makespan_s(rates: dict[str, float], items: int) -> float:
    """How long a job takes if each peer has its speed, and is told at once what is no longer wanted."""
    plan = JobPlan(PlanSettings())
    plan.feed((index, 10) for index in range(items))
    queues: dict[str, list[Chunk]] = {peer: [] for peer in rates}
    ends_us: dict[str, float] = {}
    now_us = 0.0
    while not plan.finished:
        for _ in range(CHUNKS_PER_PEER):
            for peer in rates:
                if len(queues[peer]) < CHUNKS_PER_PEER:
                    chunk = plan.take(peer, now_us=round(now_us), rates=rates)
                    if chunk is not None:
                        queues[peer].append(chunk)
        for peer, queue in queues.items():
            if queue and peer not in ends_us:
                ends_us[peer] = now_us + len(queue[0].indices) / rates[peer] * 1e6
        first = min(ends_us, key=lambda peer: ends_us[peer])
        now_us = ends_us.pop(first)
        plan.answered(queues[first].pop(0).chunk_id)
        for chunk_id in plan.superfluous():
            for peer, queue in queues.items():
                if any(chunk.chunk_id == chunk_id for chunk in queue):
                    if queue[0].chunk_id == chunk_id:
                        ends_us.pop(peer, None)
                    queue[:] = [chunk for chunk in queue if chunk.chunk_id != chunk_id]
            plan.failed(chunk_id, "superfluous", blame_items=False)
    return now_us / 1e6


@pytest.mark.parametrize("items", [1, 2, 5, 20, 100, 500, 2000])
@pytest.mark.parametrize("times_slower", [1.0, 3.0, 10.0, 50.0, 1000.0])
@pytest.mark.parametrize("rate", [40.0, 400.0, 4000.0])
def test_a_slower_second_peer_never_makes_a_job_slower(items: int, times_slower: float, rate: float) -> None:
    alone = makespan_s({"fast": rate}, items)
    both = makespan_s({"fast": rate, "slow": rate / times_slower}, items)
    assert both <= alone * 1.03


def test_a_second_peer_of_a_tenth_of_the_speed_is_of_use() -> None:
    assert makespan_s({"fast": 400.0, "slow": 40.0}, 2000) <= makespan_s({"fast": 400.0}, 2000) * 0.95


def test_two_equal_peers_take_little_more_than_half_as_long() -> None:
    assert makespan_s({"a": 400.0, "b": 400.0}, 2000) <= makespan_s({"a": 400.0}, 2000) * 0.53
