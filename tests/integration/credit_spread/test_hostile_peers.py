"""A peer that lies, floods or asks too much costs a bounded amount and changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import trio
from trio.testing import MockClock

from swarmharness.credit.receipt import Half, Problem, Receipt, body_digest
from swarmharness.credit.spread.intake import SpreadProblem
from swarmharness.credit.spread.key_index import HIGHEST, LOWEST
from swarmharness.credit.spread.messages import (
    CHAINS_METHOD,
    FETCH_METHOD,
    GOSSIP_METHOD,
    OPEN_METHOD,
    RANGES_METHOD,
    FetchRequest,
    Gossip,
    GossipAnswer,
    Opening,
    RangeBounds,
    RangeContents,
    RangesAnswer,
    RangesRequest,
)
from swarmharness.credit.spread.neighbourhood import scope_name, short_ids
from swarmharness.credit.spread.ranges import BRANCHES
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.errors import ProtocolError, RefusedError, SwarmError
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.ports import PeerAddress, Request, Transport
from swarmharness.protocol.codec import decode, encode
from tests.integration.credit_spread.swarm import Node, Swarm, entry_of
from tests.unit.credit.builders import body, half, identity, receipt

MALLORY = identity(66)
SETTINGS = SpreadSettings(requests_burst=40, requests_per_s=1, session_requests_max=16, session_receipts_max=100)


class World:
    """An honest node, and a transport in the hands of its partner Mallory."""

    def __init__(self, network: MemoryNetwork, node: Node, mallory: Transport) -> None:
        self.network, self.node, self.mallory = network, node, mallory
        self.calls = 0

    @property
    def interests(self) -> frozenset[str]:
        return frozenset((self.node.peer_id, MALLORY.peer_id))

    async def call(self, method: str, message: object) -> bytes:
        return await self.mallory.call(self.node.peer_id, method, encode(message), timeout_s=10)

    def answer(self, method: str, answer: Callable[[Request], object]) -> None:
        async def handler(request: Request) -> bytes:
            self.calls += 1
            return encode(answer(request))

        self.mallory.handle(method, handler)

    def answer_openings(self) -> None:
        interests = short_ids(self.interests)
        self.answer(OPEN_METHOD, lambda request: Opening(0, interests, b"", ()))
        self.answer(CHAINS_METHOD, lambda request: Gossip(()))
        self.answer(GOSSIP_METHOD, lambda request: GossipAnswer(0, interests))


@pytest.fixture
async def world(nursery: trio.Nursery, autojump_clock: MockClock) -> AsyncIterator[World]:
    async with MemoryNetwork() as network, network.node(MALLORY.peer_id) as mallory:
        swarm = Swarm(network, nursery)
        node = await swarm.start(1, settings=SETTINGS)
        mallory.add_addresses(PeerAddress(node.peer_id, node.transport.addresses))
        node.transport.add_addresses(PeerAddress(MALLORY.peer_id, mallory.addresses))
        friendship = receipt(1, node.who, MALLORY)
        await node.store.commit([entry_of(friendship)])
        node.spread.add_own(friendship)
        yield World(network, node, mallory)
        await node.down()


async def test_a_responder_that_always_differs_is_left_after_a_bounded_number_of_questions_c_22(world: World) -> None:
    questions = 0

    def differ(request: Request) -> RangesAnswer:
        nonlocal questions
        questions += 1
        contents = []
        for asked in decode(RangesRequest, request.payload).ranges:
            low, high = (int.from_bytes(end[:36].ljust(36, b"\0"), "big") for end in (asked.lower, asked.upper))
            bounds = [(low + (high - low) * part // BRANCHES).to_bytes(36, "big") for part in range(1, BRANCHES)]
            contents.append(RangeContents(tuple(bounds), bytes(16 * BRANCHES), b""))
        return RangesAnswer(tuple(contents))

    world.answer_openings()
    world.answer(RANGES_METHOD, differ)
    outcome = await world.node.spread.reconcile(MALLORY.peer_id)
    assert not outcome.complete
    assert outcome.received == []
    assert questions <= SETTINGS.session_requests_max
    assert outcome.bytes_received + outcome.bytes_sent < 5_000_000


async def test_ids_without_end_are_fetched_up_to_a_bound_and_what_comes_is_not_believed_c_22(world: World) -> None:
    def promise(request: Request) -> RangesAnswer:
        ids = b"".join(bytes([0, 7, 0x90, 0, *number.to_bytes(12, "big")]) for number in range(32))
        asked = len(decode(RangesRequest, request.payload).ranges)
        return RangesAnswer((RangeContents((), b"", ids),) * asked)

    good = receipt(5, identity(2), MALLORY)
    forged = Receipt(good.body, good.requester_half, replace(good.worker_half, signature=bytes(64)))
    world.answer_openings()
    world.answer(RANGES_METHOD, promise)
    world.answer(FETCH_METHOD, lambda request: Gossip((forged,) * 64))
    before = await world.node.digests()
    outcome = await world.node.spread.reconcile(MALLORY.peer_id)
    assert outcome.received == []
    assert await world.node.digests() == before
    assert world.node.spread.refused == Counter({Problem.WRONG_SIGNATURE: 1})
    assert world.calls <= 12


@pytest.mark.parametrize(
    "nonsense",
    [
        RangesAnswer(()),
        RangesAnswer((RangeContents((), b"", b"short"),)),
        RangesAnswer((RangeContents((), bytes(16), b""),)),
        RangesAnswer((RangeContents((b"\x05", b"\x01"), bytes(48), b""),)),
        RangesAnswer((RangeContents((b"\xff" * 5,), bytes(32), b""),)),
        RangesAnswer((RangeContents((b"\x01",), bytes(32), bytes(16)),)),
    ],
)
async def test_an_answer_that_makes_no_sense_ends_the_comparison(world: World, nonsense: RangesAnswer) -> None:
    world.answer_openings()
    world.answer(RANGES_METHOD, lambda request: nonsense)
    with pytest.raises(ProtocolError):
        await world.node.spread.reconcile(MALLORY.peer_id)


async def test_questions_about_peers_that_were_not_agreed_on_are_refused(world: World) -> None:
    bounds = RangeBounds(LOWEST, HIGHEST)
    await world.call(OPEN_METHOD, Opening(0, short_ids([identity(2).peer_id]), b"", ()))
    for scope in (frozenset[str](), frozenset({identity(2).peer_id}), world.interests):
        with pytest.raises(RefusedError, match="open a new comparison"):
            await world.call(RANGES_METHOD, RangesRequest(scope_name(scope), (bounds,)))
    with pytest.raises(RefusedError, match="open a new comparison"):
        await world.call(FETCH_METHOD, FetchRequest(bytes(8), bytes(16)))
    assert world.node.spread.refused[SpreadProblem.UNKNOWN_SCOPE] == 4


async def test_a_peer_that_asks_without_end_is_refused_and_may_ask_again_later(
    world: World, autojump_clock: MockClock
) -> None:
    await world.call(OPEN_METHOD, Opening(0, short_ids(world.interests), b"", ()))
    request = RangesRequest(scope_name(world.interests), (RangeBounds(LOWEST, HIGHEST),))
    for _ in range(SETTINGS.requests_burst - 1):
        await world.call(RANGES_METHOD, request)
    with pytest.raises(RefusedError, match="try again"):
        await world.call(RANGES_METHOD, request)
    assert world.node.spread.refused[SpreadProblem.TOO_MANY_REQUESTS] == 1
    await trio.sleep(2)
    answer = decode(RangesAnswer, await world.call(RANGES_METHOD, request))
    assert len(answer.contents[0].ids) == 16  # the one receipt


async def test_strangers_who_compare_without_end_are_refused_and_a_partner_is_answered(world: World) -> None:
    node, many = world.node, short_ids(identity(number).peer_id for number in range(70, 100)) * 200
    opening = encode(Opening(0, many, b"", ()))
    asked_each, refused = SETTINGS.requests_burst - 8, 0

    async def ask(number: int) -> None:
        async with world.network.node(identity(number).peer_id) as stranger:
            stranger.add_addresses(PeerAddress(node.peer_id, node.transport.addresses))
            async with trio.open_nursery() as asking:
                for _ in range(asked_each):
                    asking.start_soon(ask_once, stranger)

    async def ask_once(stranger: Transport) -> None:
        nonlocal refused
        try:
            await stranger.call(node.peer_id, OPEN_METHOD, opening, timeout_s=30)
        except RefusedError:
            refused += 1

    async with trio.open_nursery() as crowd:
        for number in range(70, 82):
            crowd.start_soon(ask, number)
        await world.call(OPEN_METHOD, Opening(0, short_ids(world.interests), b"", ()))
    assert refused == node.spread.refused[SpreadProblem.STRANGERS_BUSY] > 0
    assert node.spread.refused[SpreadProblem.TOO_MANY_REQUESTS] == 0


@pytest.mark.parametrize("method", [GOSSIP_METHOD, OPEN_METHOD, CHAINS_METHOD, RANGES_METHOD, FETCH_METHOD])
async def test_bytes_that_are_no_message_are_counted(world: World, method: str) -> None:
    with pytest.raises(SwarmError, match=r"array|int|truncated|invalid"):
        await world.mallory.call(world.node.peer_id, method, b"\x93nonsense", timeout_s=10)
    assert world.node.transport.refusals() == {"malformed": 1}  # type: ignore[attr-defined]


async def test_the_predecessors_of_a_half_that_came_early_are_asked_for_once_c_17(
    world: World, autojump_clock: MockClock
) -> None:
    others = [identity(number) for number in range(10, 14)]
    made: list[Receipt] = []
    last: Half | None = None
    for number, other in enumerate(others, start=20):
        statement = body(number, other, MALLORY)
        last = half(statement, MALLORY, last or receipt(1, world.node.who, MALLORY).worker_half)
        made.append(Receipt(statement, half(statement, other), last))
    asked: list[bytes] = []

    def tell(request: Request) -> Gossip:
        asked.append(request.payload)
        return Gossip(tuple(made[:-1]))

    world.answer(CHAINS_METHOD, tell)
    assert decode(GossipAnswer, await world.call(GOSSIP_METHOD, Gossip((made[-1],)))).stored == 1
    assert body_digest(made[-1].body) in await world.node.digests()  # it counts at once
    await trio.sleep(240)
    assert {body_digest(one.body) for one in made} <= await world.node.digests()
    assert len(asked) == 1
