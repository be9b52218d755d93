"""The router over real registries on the in-memory network."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from swarmharness.errors import PeerLostError, UnavailableError
from swarmharness.network.memory import MemoryNetwork
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.router import Router
from tests.integration.registry.swarm import Member, SeededRandomness, VirtualClock, members

SKILL = "text-embedding"


def router_of(member: Member) -> Router:
    return Router(
        member.registry,
        RoutingPolicy(),
        VirtualClock(),
        SeededRandomness(1),
        own_id=member.peer_id,
        round_trip_us=member.transport.round_trip_us,
    )


async def test_a_nearer_peer_is_chosen_for_a_small_task(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.02) as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, far, near, client):
            network.set_delay(client.peer_id, near.peer_id, 0.001)
            network.set_delay(client.peer_id, far.peer_id, 0.2)
            router = router_of(client)
            assert [choice.peer_id for choice in await router.choose(SKILL)] == [near.peer_id]
            await trio.sleep(2)  # the far one has answered the registry by now
            assert [choice.peer_id for choice in await router.choose(SKILL)] == [near.peer_id, far.peer_id]


async def test_the_node_itself_comes_first_when_it_serves_as_well(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.02) as network:
        async with members(network, [[], [SKILL], [SKILL]]) as (_, _, own):
            first, *others = await router_of(own).choose(SKILL)
            assert (first.peer_id, first.local) == (own.peer_id, True)
            assert len(others) == 1


async def test_a_killed_peer_is_not_chosen_after_its_first_failure(autojump_clock: MockClock) -> None:
    async with MemoryNetwork(delay_s=0.01) as network:
        async with members(network, [[], [SKILL], [SKILL], []]) as (_, doomed, other, client):
            router = router_of(client)
            assert len(await router.choose(SKILL)) == 2
            model = router.offered(doomed.peer_id, SKILL)
            assert model is not None
            network.kill(doomed.peer_id)
            router.note_sent(doomed.peer_id, model, 1)
            router.note_failure(doomed.peer_id, model, 1, PeerLostError("the channel ended"))
            assert [choice.peer_id for choice in await router.choose(SKILL)] == [other.peer_id]
            explained = {each.view.peer_id: each.reason for each in router.explain(SKILL).candidates}
            assert "does not answer" in explained[doomed.peer_id]
            await trio.sleep(30)
            assert [choice.peer_id for choice in await router.choose(SKILL)] == [other.peer_id]


async def test_the_router_passes_on_that_nobody_serves_a_skill(autojump_clock: MockClock) -> None:
    async with MemoryNetwork() as network, Member(1).up(network) as alone:
        with pytest.raises(UnavailableError):
            await router_of(alone).choose(SKILL)
