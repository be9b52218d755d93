from __future__ import annotations

import pytest

from swarmharness.registry.models import model_key
from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.locality import (
    SAMPLE_BYTES_MIN,
    WARM_US,
    Nearness,
    input_us,
    model_us,
    reserve_milli,
    uses_gpu,
)
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import completion_us, line, rank, terms, time_parts_us
from tests.unit.registry.samples import offer
from tests.unit.routing.test_router import MODEL, SKILL, A, B, C, World
from tests.unit.routing.views import view

POLICY = RoutingPolicy(price_weight=0.0)
MIB = 2**20
CUDA = "CUDAExecutionProvider"


def first(*views: CandidateView, items: int = 1, input_bytes: int = 0, policy: RoutingPolicy = POLICY) -> str:
    return rank(views, policy, RouteRequest("s", items, input_bytes=input_bytes)).order[0]


def test_moving_an_input_takes_its_size_over_the_bandwidth_and_nothing_to_this_node() -> None:
    assert input_us(view("a", bandwidth_bytes_s=MIB), POLICY, 2 * MIB) == 2_000_000
    assert input_us(view("a"), RoutingPolicy(bandwidth_unknown_mbit=8.0), 1_000_000) == 1_000_000
    assert input_us(view("a", local=True, bandwidth_bytes_s=1), POLICY, 2 * MIB) == 0


def test_a_near_peer_wins_small_work_and_a_fast_one_large_work() -> None:
    near = view("near", measured_us=10_000, round_trip_us=500)
    far = view("far", measured_us=4_000, round_trip_us=60_000)
    assert first(near, far) == "near"
    assert first(near, far, items=100) == "far"


def test_a_large_input_goes_where_the_line_is_wide_or_stays_at_home() -> None:
    wide, narrow = view("wide", bandwidth_bytes_s=10**8), view("narrow", measured_us=4_000, bandwidth_bytes_s=10**5)
    assert first(wide, narrow) == "narrow"
    assert first(wide, narrow, input_bytes=10**6) == "wide"
    home = view("home", local=True, measured_us=30_000)
    assert first(home, wide, input_bytes=100) == "wide"
    assert first(home, wide, input_bytes=10**7) == "home"


def test_a_model_that_is_in_memory_wins_over_one_that_must_be_opened_and_that_over_one_that_must_be_fetched() -> None:
    warm, cold = view("warm", measured_us=20_000), view("cold", loaded=False, load_us=700_000)
    lacking = view("lacking", loaded=False, missing_bytes=90 * MIB)
    assert [model_us(each, POLICY) for each in (warm, cold)] == [0, 700_000]
    assert model_us(lacking, RoutingPolicy(model_fetch_mbit=8.0, model_load_unknown_ms=500.0)) == 90 * MIB + 500_000
    assert rank((lacking, cold, warm), POLICY, RouteRequest("s", 8)).order == ("warm", "cold", "lacking")
    # For long work a fast peer is worth its cold start.
    assert first(warm, cold, items=200) == "cold"


@pytest.mark.parametrize(("provider", "gpu"), [(CUDA, True), ("CPUExecutionProvider", False), ("", False)])
def test_gpus_are_known_by_their_provider(provider: str, gpu: bool) -> None:
    assert uses_gpu(view("a", provider=provider)) is gpu


def test_a_gpu_is_kept_for_work_that_gains_from_it() -> None:
    policy = RoutingPolicy(price_weight=0.0, gpu_reserve=0.2)
    gpu = view("gpu", provider=CUDA, measured_us=4_500)
    cpu = view("cpu", provider="CPUExecutionProvider", measured_us=5_000)
    assert reserve_milli(gpu, policy) == 1200
    assert first(gpu, cpu, items=32, policy=policy) == "cpu", "it would be back 10% sooner, which is not enough"
    quick = view("gpu", provider=CUDA, measured_us=300)
    assert first(quick, cpu, items=32, policy=policy) == "gpu"
    assert first(gpu, cpu, items=32, policy=RoutingPolicy(price_weight=0.0, gpu_reserve=0.0)) == "gpu"
    assert first(gpu, view("gpv", provider=CUDA), policy=policy) == "gpu", "among GPUs it changes nothing"


def test_the_parts_of_the_time_sum_to_it_and_the_cost_is_a_plane_over_items_and_bytes() -> None:
    there = view("a", loaded=False, load_us=1_000, bandwidth_bytes_s=10**6, queued_items=3, provider=CUDA)
    parts = time_parts_us(there, POLICY, 7, 5_000)
    assert parts["input"] == 5_000
    assert sum(parts.values()) == completion_us(there, POLICY, 7, 5_000)
    plane = line(there, POLICY)
    bare = line(view("a", queued_items=3), POLICY)
    assert plane.cost(7, 5_000) == plane.base + 7 * plane.per_item + 5_000 * plane.per_byte
    assert plane.cost(7, 5_000) / bare.cost(7) == pytest.approx(
        1.15 * sum(parts.values()) / completion_us(view("a", queued_items=3), POLICY, 7), rel=1e-3
    )
    shown = {term.name: term for term in terms(there, POLICY, 7, 5_000)}
    assert shown["gpu reserve"].value == pytest.approx(0.15)
    assert shown["gpu reserve"].contribution < 0


def test_bandwidth_is_learnt_from_large_inputs_fast_upwards_and_slowly_downwards() -> None:
    nearness = Nearness()
    nearness.note_answer("a", MODEL, input_bytes=SAMPLE_BYTES_MIN - 1, way_us=1, now_us=0)
    assert nearness.bandwidth_bytes_s("a") is None
    nearness.note_answer("a", MODEL, input_bytes=10**6, way_us=1_000_000, now_us=0)
    assert nearness.bandwidth_bytes_s("a") == 10**6
    nearness.note_answer("a", MODEL, input_bytes=10**6, way_us=500_000, now_us=0)
    assert nearness.bandwidth_bytes_s("a") == 1_500_000
    nearness.note_answer("a", MODEL, input_bytes=10**6, way_us=2_000_000, now_us=0)
    assert nearness.bandwidth_bytes_s("a") == 1_400_000
    nearness.note_answer("a", MODEL, input_bytes=10**6, way_us=-5, now_us=0)
    assert nearness.bandwidth_bytes_s("a") == (1_400_000 + 10**10) // 2


def test_what_is_remembered_of_peers_is_bounded() -> None:
    nearness = Nearness(most=2)
    for number in range(5):
        nearness.note_answer(f"p{number}", MODEL, input_bytes=10**6, way_us=10, now_us=0)
    assert nearness.bandwidth_bytes_s("p2") is None
    assert nearness.is_warm("p4", MODEL, 1)
    assert not nearness.is_warm("p2", MODEL, 1)


def test_an_answer_proves_a_model_warm_for_a_while() -> None:
    nearness = Nearness()
    nearness.note_answer("a", MODEL, input_bytes=0, way_us=0, now_us=5)
    assert nearness.is_warm("a", MODEL, WARM_US)
    assert not nearness.is_warm("a", MODEL, WARM_US + 5)
    assert not nearness.is_warm("a", model_key(SKILL, b"other"), 6)


async def test_the_router_prefers_loaded_models_and_believes_answers_more_than_adverts() -> None:
    world = World(policy=RoutingPolicy(explore_share=0.0, newcomer_caution=1.0))
    world.adverts.publish(
        {A: offer(service_us=5_000, provider=""), B: offer(service_us=9_000), C: offer(service_us=9_500)}
    )
    assert [choice.peer_id for choice in await world.router.choose(SKILL)] == [B, C, A]
    world.router.note_sent(A, MODEL, 1)
    world.router.note_answer(A, MODEL, items=1, service_us=5_000, queued_items=0, elapsed_us=6_000)
    assert (await world.router.choose(SKILL))[0].peer_id == A


async def test_the_router_learns_bandwidth_and_uses_it_for_large_inputs() -> None:
    world = World(policy=RoutingPolicy(explore_share=0.0, newcomer_caution=1.0, pheromone_weight=0.0))
    for peer, elapsed_us in ((A, 1_005_000), (B, 30_000), (C, 30_000)):
        world.router.note_sent(peer, MODEL, 1)
        world.router.note_answer(
            peer, MODEL, items=1, service_us=5_000, queued_items=0, elapsed_us=elapsed_us, input_bytes=10**6
        )
    assert (await world.router.choose(SKILL, input_bytes=10**6))[-1].peer_id == A
    assert (await world.router.choose(SKILL))[0].peer_id == A, "first by peer id, as all else is equal"
    told = world.router.decision(A, MODEL, input_bytes=10**6).as_dict()
    assert told["input_bytes"] == 10**6
    assert told["chosen_position"] == 3
