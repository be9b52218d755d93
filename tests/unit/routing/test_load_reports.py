"""Probes and gossip of load between whole nodes on in-memory ports."""

from __future__ import annotations

from dataclasses import replace

import trio
import trio.testing

from swarmharness.errors import RefusedError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.node.parts import NodeSettings
from swarmharness.protocol.codec import decode, encode
from swarmharness.routing.load_messages import METHOD_PROBE, METHOD_TELL, Load, ProbeRequest, SkillLoad
from swarmharness.routing.load_reports import PROBES_BURST
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

SLOW = MemorySkill("echo", ItemOutput, service_us=500_000)
NO_GOSSIP = NodeSettings(policy=RoutingPolicy(gossip_s=0, explore_share=0))
NO_PROBES = NodeSettings(policy=RoutingPolicy(probes_per_request=0, explore_share=0))


def sources(node: MemoryNode) -> set[str]:
    return {
        view.queue_source for view in node.parts.router.snapshot("echo").candidates if view.queue_age_us is not None
    }


async def test_a_request_probes_three_peers_beside_it_and_their_load_is_known(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(8, serving=7, settings=NO_GOSSIP) as nodes:
        client = nodes[0]
        await client.map("echo", [b"first"])  # connects to them, too
        await trio.sleep(3)
        before = client.parts.probes.sent
        await client.map("echo", [b"second"])
        await trio.sleep(1)
        assert 0 < client.parts.probes.sent - before <= 3
        assert client.parts.probes.answered == client.parts.probes.sent
        assert "probe" in sources(client)


async def test_a_node_that_asks_seldom_probes_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(8, serving=7, settings=NO_GOSSIP) as nodes:
        for _ in range(3):
            await nodes[0].map("echo", [b"one"])
            await trio.sleep(30)
        assert nodes[0].parts.probes.sent == 0


async def test_an_idle_node_probes_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(4, serving=3) as nodes:
        await nodes[0].map("echo", [b"one"])
        await trio.sleep(1)
        before = nodes[0].parts.probes.sent
        await trio.sleep(600)
        assert nodes[0].parts.probes.sent == before


async def test_no_request_waits_for_a_probe(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(4, serving=3, settings=NO_GOSSIP) as nodes:
        await nodes[0].map("echo", [b"one"])
        network, client = nodes[0].network, nodes[0]
        (first, *_) = await client.parts.router.choose("echo")
        for node in nodes[1:]:
            if node.peer_id != first.peer_id:
                network.set_delay(client.peer_id, node.peer_id, 5.0)
        started_s = trio.current_time()
        await client.map("echo", [b"two"])
        assert trio.current_time() - started_s < 1


async def test_those_who_asked_lately_hear_of_a_queue_without_asking(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(3, serving=1, skills=(SLOW,), settings=NO_PROBES) as nodes:
        early, late, _ = nodes
        await early.map("echo", [b"one"])
        await trio.sleep(5)
        async with late.parts.jobs.open("echo") as job:
            await job.feed([b"x"] * 60, last=True)
            await trio.sleep(3)
            (view,) = (view for view in early.parts.router.snapshot("echo").candidates if view.offers)
            assert (view.queue_source, view.queued_items >= 1) == ("gossip", True)
            assert view.queue_age_us is not None
            assert view.queue_age_us < 3_000_000


async def test_a_node_that_nobody_asked_for_a_minute_tells_nobody(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(3, serving=1, skills=(SLOW,), settings=NO_PROBES) as nodes:
        early, late, _ = nodes
        await early.map("echo", [b"one"])
        await trio.sleep(90)
        async with late.parts.jobs.open("echo") as job:
            await job.feed([b"x"] * 30, last=True)
            await trio.sleep(3)
            (view,) = (view for view in early.parts.router.snapshot("echo").candidates if view.offers)
            assert view.queue_age_us is not None
            assert view.queue_age_us > 60_000_000


async def test_a_probe_is_answered_with_the_skill_that_was_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1, skills=(SLOW,)) as nodes:
        client, worker = nodes
        await client.map("echo", [b"one"])
        transport = client.parts.ports.transport
        for skill, expected in (("echo", (SkillLoad("echo", 0, 1, 500_000, 500_000),)), ("other", ())):
            answer = await transport.call(worker.peer_id, METHOD_PROBE, encode(ProbeRequest(skill)), timeout_s=5)
            assert tuple(replace(one, latency_us=500_000) for one in decode(Load, answer).skills) == expected


async def test_who_probes_too_often_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1) as nodes:
        client, worker = nodes
        call, question = client.parts.ports.transport.call, encode(ProbeRequest("echo"))
        refused = 0

        async def probe() -> None:
            nonlocal refused
            try:
                await call(worker.peer_id, METHOD_PROBE, question, timeout_s=5)
            except RefusedError:
                refused += 1

        async with trio.open_nursery() as nursery:
            for _ in range(PROBES_BURST + 50):
                nursery.start_soon(probe)
        assert refused == 50


async def test_gossip_of_a_node_that_is_no_candidate_is_ignored(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(3, serving=1, settings=NO_PROBES) as nodes:
        client, stranger, _ = nodes
        await client.map("echo", [b"one"])
        lie = encode(Load((SkillLoad("echo", 9, 1, 1, 1), SkillLoad("else", 9, 1, 1, 1))))
        await stranger.parts.ports.transport.call(client.peer_id, METHOD_TELL, lie, timeout_s=5)
        records = client.parts.router._records._records
        assert all(peer != stranger.peer_id for peer, _ in records)
