"""Arbitrary candidates and policies."""

from __future__ import annotations

from hypothesis import strategies as st

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.policy import RoutingPolicy

times_us = st.integers(0, 10**9)
items = st.integers(0, 10**6)
micro = st.integers(0, 10**9)


def views(peer_ids: st.SearchStrategy[str]) -> st.SearchStrategy[CandidateView]:
    return st.builds(
        lambda **known: CandidateView(**known),  # what is not named here keeps its default
        peer_id=peer_ids,
        local=st.booleans(),
        offers=st.sampled_from([True, True, True, False]),
        reachable=st.sampled_from([True, True, True, False]),
        breaker=st.sampled_from(BreakerState),
        provider=st.sampled_from(["", "CPUExecutionProvider", "CUDAExecutionProvider"]),
        loaded=st.booleans(),
        load_us=times_us,
        missing_bytes=st.just(0) | st.integers(0, 2**50),
        bandwidth_bytes_s=st.none() | st.integers(0, 10**10),
        batch_invariant=st.booleans(),
        batch_items_max=st.integers(1, 512),
        price_microcredits=items,
        advertised_us=times_us,
        measured_us=st.none() | times_us,
        outstanding_items=items,
        queued_items=items,
        queue_age_us=st.none() | times_us,
        usual_milli=items,
        slots=st.integers(1, 64),
        hidden_us=times_us,
        candour_micro=st.integers(1, 10**6),
        sent_since_items=items,
        round_trip_us=st.none() | times_us,
        trust_valid_micro=micro,
        trust_invalid_micro=micro,
        pheromone_micro=micro,
    )


snapshots = st.lists(views(st.text("abcdef", min_size=1, max_size=6)), max_size=12, unique_by=lambda view: view.peer_id)

weights = st.floats(0.001, 10)
policies = st.builds(
    RoutingPolicy,
    form=st.sampled_from(["completion", "additive"]),
    time_weight=weights | st.just(0.0),
    trust_weight=weights,
    price_weight=weights,
    pheromone_weight=weights,
    candour_weight=weights,
    newcomer_caution=st.floats(1, 10),
    queue_fade_ms=st.floats(1, 100_000),
    additive_capable_weight=weights,
    additive_load_weight=weights,
    additive_latency_weight=weights,
    additive_trust_weight=weights,
    latency_max_ms=st.floats(1, 10_000),
    gpu_reserve=st.floats(0, 10),
    bandwidth_unknown_mbit=st.floats(0.001, 10_000),
)
