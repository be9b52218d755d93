from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.identity import PeerId
from swarmharness.simulation.randomness import SeededRandomness
from swarmharness.simulation.scenario import NetworkModel
from swarmharness.simulation.weather import Partition, Weather

PEERS = [PeerId(f"peer {number}") for number in range(6)]
peers = st.sampled_from(PEERS)


@given(inside=st.frozensets(peers), left=peers, right=peers)
def test_a_partition_cuts_both_ways_or_one_and_never_within_a_side(
    inside: frozenset[PeerId], left: PeerId, right: PeerId
) -> None:
    both, one_way = Partition(inside), Partition(inside, one_way=True)
    assert both.blocks(left, right) == both.blocks(right, left)
    assert both.blocks(left, right) == (one_way.blocks(left, right) or one_way.blocks(right, left))
    if (left in inside) == (right in inside):
        assert not both.blocks(left, right)


@given(
    delay_ms=st.floats(0.5, 500),
    spread=st.floats(1, 50),
    jitter=st.integers(0, 300),
    size=st.integers(0, 2**20),
    seed=st.integers(0, 1000),
)
def test_delays_are_positive_integers_near_what_the_scenario_says(
    delay_ms: float, spread: float, jitter: int, size: int, seed: int
) -> None:
    weather = Weather(
        NetworkModel(delay_ms=delay_ms, spread=spread, jitter_percent=jitter), SeededRandomness(str(seed))
    )
    for peer in PEERS:
        weather.place(peer)
    base_us = weather.base_delay_us(PEERS[0], PEERS[1])
    assert base_us == weather.base_delay_us(PEERS[1], PEERS[0])
    assert 2000 * delay_ms / (1 + spread) - 4 <= base_us <= 2000 * delay_ms * spread / (1 + spread) + 4
    delay_us = weather.delay_us(PEERS[0], PEERS[1], size)
    assert isinstance(delay_us, int)
    assert delay_us >= base_us + size * 8 // 100


@given(loss=st.integers(1, 500), delay=st.integers(1, 10_000))
def test_disturbances_of_both_ends_add_up_and_leave_no_trace_when_they_are_undone(loss: int, delay: int) -> None:
    weather = Weather(NetworkModel(jitter_percent=0), SeededRandomness("x"))
    for peer in PEERS:
        weather.place(peer)
    calm_us = weather.delay_us(PEERS[0], PEERS[1], 0)
    for peer in PEERS[:2]:
        weather.around(peer).delay_us += delay
        weather.around(peer).loss_permille += loss
    assert weather.delay_us(PEERS[0], PEERS[1], 0) == calm_us + 2 * delay
    assert weather.loses(PEERS[0], PEERS[1]) or loss < 500
    for peer in PEERS[:2]:
        weather.around(peer).delay_us -= delay
        weather.around(peer).loss_permille -= loss
    weather.clear(PEERS)
    assert weather.disturbed == {}
