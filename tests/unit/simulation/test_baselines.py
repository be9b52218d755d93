from __future__ import annotations

from swarmharness.identity import PeerId
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.baselines import AGE_MOST_US, PrequalRouter
from tests.unit.routing.test_router import MODEL, NOBODY, PEERS, SKILL, Adverts, ManualClock, NoRandomness

A, B, C = (signer.peer_id for signer in PEERS)


class Probes:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.router = PrequalRouter(
            Adverts(),
            RoutingPolicy(explore_share=0),
            self.clock,
            NoRandomness(),
            own_id=NOBODY,
            round_trip_us=lambda _: 1_000,
        )

    async def chosen(self) -> PeerId:
        return (await self.router.choose(SKILL))[0].peer_id

    def answer(self, peer: PeerId, *, in_flight: int, latency_us: int) -> None:
        self.router.note_load(peer, MODEL, LoadReport(in_flight, 1, 1_000, "probe", latency_us))


async def test_of_the_cold_servers_the_one_with_the_least_latency_is_chosen() -> None:
    probes = Probes()
    await probes.chosen()
    for peer, in_flight, latency_us in ((A, 2, 9_000), (B, 1, 3_000), (C, 40, 1_000)):
        probes.answer(peer, in_flight=in_flight, latency_us=latency_us)
    for _ in range(20):  # many cold probes before: 40 in flight are hot
        probes.answer(A, in_flight=2, latency_us=9_000)
    assert await probes.chosen() == B


async def test_if_all_are_hot_the_one_with_the_fewest_requests_is_chosen() -> None:
    probes = Probes()
    await probes.chosen()
    for _ in range(100):
        probes.answer(A, in_flight=0, latency_us=1)
    for peer, in_flight, latency_us in ((A, 9, 1_000), (B, 7, 9_000), (C, 8, 1_000)):
        probes.answer(peer, in_flight=in_flight, latency_us=latency_us)
    assert await probes.chosen() == B


async def test_old_probes_are_not_used() -> None:
    probes = Probes()
    await probes.chosen()
    for peer in (B, C):
        probes.answer(peer, in_flight=0, latency_us=1_000)
    probes.clock.now_us += AGE_MOST_US + 1
    assert await probes.chosen() == A  # by chance, of which there is none here


async def test_a_request_that_is_sent_counts_at_the_probe_that_it_used() -> None:
    probes = Probes()
    await probes.chosen()
    for peer in (A, B, C):
        probes.answer(peer, in_flight=0, latency_us=1_000)
    first = await probes.chosen()
    assert await probes.chosen() != first
