"""Admission, invites and settlement between whole nodes on the twins of the network and the executor."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
import trio.testing

from swarmharness.credit.admission import Policy
from swarmharness.credit.gate import NOT_COVERED
from swarmharness.credit.service import USED_INVITE
from swarmharness.errors import ErrorKind, InputError, RefusedError
from swarmharness.jobs.requester import TaskRequester
from swarmharness.node.parts import NodeSettings
from swarmharness.protocol.codec import encode
from swarmharness.registry.invite import TOKEN_BYTES, Invite, invite_text
from swarmharness.registry.redemption import REDEEM_METHOD, RedeemRequest
from swarmharness.simulation.memory_swarm import ECHO, MemoryNode, memory_swarm

ITEMS = [f"item {number}".encode() for number in range(20)]
PRICE = ECHO.work_microcredits * len(ITEMS)


def no_strangers(**changes: object) -> NodeSettings:
    settings = NodeSettings(admission=Policy(stranger_budget_microcredits=0))
    jobs = replace(settings.jobs, patience_s=1.0)
    return replace(settings, jobs=jobs, **changes)  # type: ignore[arg-type]


def invite_of(node: MemoryNode, line: int, *, expires_unix_s: int = 0, token: bytes = b"t" * TOKEN_BYTES) -> str:
    ports = node.parts.ports
    made = Invite(node.peer_id, (f"/memory/{node.peer_id}",), None, line, token, expires_unix_s)
    return invite_text(made, ports.signer)


async def test_a_stranger_without_credit_is_told_what_is_missing(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, serving=1, settings=no_strangers()) as (client, worker):
        results = await client.map("echo", ITEMS[:1])
        assert results[0].error_kind is ErrorKind.REFUSED
        assert f"{ECHO.work_microcredits} of {ECHO.work_microcredits} micro-credits are missing" in results[0].error
        assert "ask its operator for a line" in results[0].error
        assert worker.parts.credit.refused[NOT_COVERED] > 0
        assert (await worker.parts.credit.balance()).earned_microcredits == 0


async def test_work_is_worth_as_much_work_in_return(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(2, settings=no_strangers()) as (one, other):
        one.parts.credit.set_policy(Policy(own=frozenset({other.peer_id})))
        for index in range(3):  # the other asks first, and is then owed nothing: it owes
            async with other.parts.jobs.open("echo") as job:
                await job.feed(ITEMS, last=True)
                assert all(not result.error for result in [result async for result in job.results()]), index
        await other.parts.credit.drain()
        spent = (await other.parts.credit.balance()).spent_microcredits
        assert other.parts.credit.credit_of(one.peer_id).flow == spent
        assert one.parts.credit.credit_of(other.peer_id).flow == 0


async def test_an_invite_brings_its_line_once_c_11(autojump_clock: trio.testing.MockClock) -> None:
    async with memory_swarm(3, serving=1, settings=no_strangers()) as (client, second, worker):
        invite = invite_of(worker, PRICE)
        await client.parts.join([invite])
        await client.parts.join([invite])
        credit = worker.parts.credit.credit_of(client.peer_id)
        assert (credit.line, credit.line_left) == (PRICE, PRICE)
        assert not any(result.error for result in await client.map("echo", ITEMS))
        assert worker.parts.credit.credit_of(client.peer_id).line_left == 0
        await second.parts.join([invite])
        assert worker.parts.credit.refused[USED_INVITE] == 1
        assert worker.parts.credit.credit_of(second.peer_id).line == 0
        assert [one.peer_id for one in await worker.parts.ports.receipts.invited()] == [client.peer_id]


async def test_invites_of_others_expired_ones_and_nonsense_bring_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1, settings=no_strangers()) as (client, worker):
        transport = client.parts.ports.transport
        texts = (invite_of(client, PRICE), invite_of(worker, PRICE, expires_unix_s=1), "swarm1nonsense")
        for text, error in zip(texts, (InputError, RefusedError, InputError), strict=True):
            with pytest.raises(error):
                await transport.call(worker.peer_id, REDEEM_METHOD, encode(RedeemRequest(text)), timeout_s=1)
        assert worker.parts.credit.credit_of(client.peer_id).line == 0


async def test_many_tasks_at_once_are_settled_in_few_receipts_with_their_game(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1, delay_s=0.05) as (client, worker):
        skill = (await client.parts.router.choose("echo"))[0].skill
        ports = client.parts.ports
        requester = TaskRequester(ports.transport, client.parts.credit, ports.clock, ports.randomness)

        async def ask(item: bytes) -> None:
            requester.settle(await requester.run(worker.peer_id, skill, (item,), timeout_s=60))

        async with trio.open_nursery() as nursery:
            for item in ITEMS * 5:
                nursery.start_soon(ask, item)
        await client.parts.credit.drain()
        spent = await client.parts.credit.history(1_000)
        assert sum(len(one.entry.body.tasks) for one in spent) == 100
        assert len(spent) < 60
        assert sum(one.entry.body.share_microcredits for one in spent) == 5 * PRICE
        for party in (client, worker):
            for one in await party.parts.credit.history(1_000):
                body = one.entry.body
                games = await party.parts.ports.receipts.games([body.game_digest])
                assert bool(games) == (len(body.tasks) > 1)
        assert worker.parts.credit.owed(client.peer_id) == (0, 0)
