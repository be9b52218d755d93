from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from trio.testing import MockClock

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput
from swarmharness.jobs.messages import Commitment, Output, Proposal, Reveal, RevealRequest, commitment_of, output_digest
from swarmharness.jobs.requester import TaskRequester
from swarmharness.network.ports import Request
from swarmharness.node.parts import NodeParts
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import SkillAdvert
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

THINK = MemorySkill("think", lambda item: ItemOutput(b"right " + item))

Handler = Callable[[Request], Awaitable[bytes]]


def take_over(parts: NodeParts, method: str, handler: Handler) -> Handler:
    """Let a dishonest node answer a method otherwise; returns the honest handler."""
    handlers = parts.ports.transport._handlers  # type: ignore[attr-defined]
    honest: Handler = handlers[method]
    handlers[method] = handler
    return honest


def requester_of(node: MemoryNode) -> TaskRequester:
    ports = node.parts.ports
    return TaskRequester(ports.transport, node.parts.credit, ports.clock, ports.randomness)


async def skill_of(node: MemoryNode) -> SkillAdvert:
    return (await node.parts.router.choose("think"))[0].skill


async def test_a_worker_that_shows_the_commitment_and_the_answer_of_another_is_refused(
    autojump_clock: MockClock,
) -> None:
    """It passes the proposal on, and hands the other's commitment and answer in as its own."""
    async with memory_swarm(3, serving=2, skills=(THINK,)) as nodes:
        client, copier, worker = nodes
        await copier.parts.registry.candidates("think")

        async def relay(request: Request) -> bytes:
            call = copier.parts.ports.transport.call
            return await call(worker.peer_id, request.method, request.payload, timeout_s=request.timeout_s)

        take_over(copier.parts, "task.run", relay)
        take_over(copier.parts, "task.reveal", relay)
        with pytest.raises(ProtocolError, match="revealed another answer than it had committed to"):
            await requester_of(client).run(copier.peer_id, await skill_of(client), (b"item",), timeout_s=5)


async def test_a_worker_that_commits_first_and_copies_afterwards_is_refused(autojump_clock: MockClock) -> None:
    async with memory_swarm(3, serving=2, skills=(THINK,)) as nodes:
        client, copier, _ = nodes
        nonce = bytes(32)
        proposals: dict[bytes, Proposal] = {}

        async def commit(request: Request) -> bytes:
            proposal = decode(Proposal, request.payload)
            proposals[proposal.task_id] = proposal
            digest = output_digest(proposal.salt, ())  # of anything: it does not know the answer yet
            return encode(
                Commitment(proposal.task_id, 0, commitment_of(proposal.task_id, copier.peer_id, nonce, digest), 1, 0)
            )

        async def reveal(request: Request) -> bytes:
            wanted = decode(RevealRequest, request.payload)
            learnt = tuple(Output(b"right " + item, "") for item in (b"item",))
            return encode(Reveal(wanted.task_id, nonce, learnt))

        take_over(copier.parts, "task.run", commit)
        take_over(copier.parts, "task.reveal", reveal)
        with pytest.raises(ProtocolError, match="revealed another answer than it had committed to"):
            await requester_of(client).run(copier.peer_id, await skill_of(client), (b"item",), timeout_s=5)


async def test_nobody_but_the_requester_is_shown_an_answer(autojump_clock: MockClock) -> None:
    async with memory_swarm(3, serving=2, skills=(THINK,)) as nodes:
        client, copier, worker = nodes
        await copier.parts.registry.candidates("think")
        answer = await requester_of(client).run(worker.peer_id, await skill_of(client), (b"item",), timeout_s=5)
        asked = encode(RevealRequest(bytes.fromhex(answer.receipt)))
        with pytest.raises(InputError, match="has no answer here"):
            await copier.parts.ports.transport.call(worker.peer_id, "task.reveal", asked, timeout_s=5)
