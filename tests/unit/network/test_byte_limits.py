"""A request or an answer that is larger than its message can be is refused before it is decoded, or even received."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import pytest
import trio
from trio.testing import memory_stream_pair

from swarmharness.errors import InputError, ProtocolError
from swarmharness.network.budgets import Budget
from swarmharness.network.bulk import BulkExchange, BulkStream
from swarmharness.network.channel import Channel
from swarmharness.network.handlers import Handlers
from swarmharness.network.memory import MemoryNetwork
from swarmharness.network.memory_broadcast import METHOD_PREFIX
from swarmharness.network.ports import PeerAddress, Request
from swarmharness.network.settings import BulkSettings
from swarmharness.protocol.codec import Size
from swarmharness.protocol.frame import FrameKind, encode_request, encode_u64, pack_u64, parse_error
from swarmharness.protocol.method import Method
from swarmharness.simulation.memory_swarm import memory_swarm
from tests.unit.network.ends import LEFT, QUIET, RIGHT, Peer, channel_and_peer, echo, up


@dataclass(frozen=True, slots=True)
class Small:
    data: Annotated[bytes, Size(100)]


@dataclass(frozen=True, slots=True)
class Large:
    data: Annotated[bytes, Size(10_000_000)]


ASK = Method("ask", Small, Large)
TELL = Method("tell", Large, Small)
REQUEST_MAX = ASK.request_bytes_max
ANSWER_MAX = TELL.answer_bytes_max


async def never(request: Request) -> bytes:
    raise AssertionError("a refused request reached its handler")


async def no_stream() -> BulkStream:
    raise AssertionError("a stream for something that was refused")


@asynccontextmanager
async def bulk_channel(handlers: Handlers) -> AsyncIterator[tuple[Channel, Peer, list[str], BulkExchange]]:
    """A channel that can carry large payloads, its hand-driven peer, what it refused, and its bulk exchange."""
    here, there = memory_stream_pair()
    refusals: list[str] = []
    bulk = BulkExchange(no_stream, BulkSettings(), Budget(2**29, 2**29).share(), refusals.append)
    channel = Channel(here, RIGHT, handlers, QUIET, bulk=bulk, refuse=refusals.append)
    peer = Peer(there)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.handshake)
        await peer.hello()
        assert (await peer.hear()).kind == FrameKind.HELLO
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        yield channel, peer, refusals, bulk
        nursery.cancel_scope.cancel()


async def test_a_request_that_is_too_large_never_reaches_its_handler_and_its_sender_is_told() -> None:
    async with channel_and_peer({ASK: never}) as (_, peer, refusals):
        await peer.say(encode_request(FrameKind.REQUEST, 7, 1000, b"ask", bytes(REQUEST_MAX + 1)))
        kind, request_id, body = await peer.hear()
    assert (kind, request_id) == (FrameKind.ERROR, 7)
    told = f"ask: a request of {REQUEST_MAX + 1} bytes, at most {REQUEST_MAX} are taken"
    assert parse_error(body) == (InputError.kind, told)
    assert refusals == ["oversized"]


async def test_as_much_as_a_request_may_have_is_taken() -> None:
    async with channel_and_peer({ASK: echo}) as (_, peer, refusals):
        await peer.say(encode_request(FrameKind.REQUEST, 7, 1000, b"ask", bytes(REQUEST_MAX)))
        assert (await peer.hear()) == (FrameKind.RESPONSE, 7, bytes(REQUEST_MAX))
    assert refusals == []


async def test_a_large_request_is_refused_when_it_is_announced() -> None:
    async with bulk_channel(Handlers({ASK: never})) as (_, peer, refusals, bulk):
        await peer.say(encode_request(FrameKind.BULK_REQUEST, 7, 1000, b"ask", pack_u64(200_000_000)))
        kind, request_id, body = await peer.hear()
        assert (kind, request_id) == (FrameKind.ERROR, 7)
        assert "ask: a request of 200000000 bytes" in parse_error(body)[1]
        assert bulk._memory.held == 0
    assert refusals == ["oversized"]


async def test_an_answer_that_is_too_large_is_never_handed_up() -> None:
    async with channel_and_peer() as (channel, peer, refusals), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ProtocolError, match=f"tell: an answer of {ANSWER_MAX + 1} bytes"):
                await channel.call(TELL, b"", timeout_s=5)

        nursery.start_soon(ask)
        asked = await peer.hear()
        await peer.frame(FrameKind.RESPONSE, asked.request_id, bytes(ANSWER_MAX + 1))
    assert refusals == ["oversized"]


async def test_a_large_answer_is_refused_when_it_is_announced_and_its_sender_need_not_go_on() -> None:
    async with bulk_channel(Handlers()) as (channel, peer, refusals, bulk), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ProtocolError, match="tell: an answer of 200000000 bytes"):
                await channel.call(TELL, b"", timeout_s=5)

        nursery.start_soon(ask)
        asked = await peer.hear()
        await peer.say(encode_u64(FrameKind.BULK_RESPONSE, asked.request_id, 200_000_000))
        assert await peer.hear() == (FrameKind.CANCEL, asked.request_id, b"")
        assert bulk._memory.held == 0
    assert refusals == ["oversized"]


async def test_the_twin_in_memory_refuses_the_same() -> None:
    async with MemoryNetwork() as network, trio.open_nursery() as nursery:
        left, right = await up(nursery, network.node(LEFT)), await up(nursery, network.node(RIGHT))
        left.add_addresses(PeerAddress(RIGHT, right.addresses))
        right.handle(ASK, never)
        right.handle(TELL, echo)
        with pytest.raises(InputError, match="ask: a request of"):
            await left.call(RIGHT, ASK, bytes(REQUEST_MAX + 1), timeout_s=5)
        with pytest.raises(ProtocolError, match="tell: an answer of"):
            await left.call(RIGHT, TELL, bytes(ANSWER_MAX + 1), timeout_s=5)
        assert (right.refusals(), left.refusals()) == ({"oversized": 1}, {"oversized": 1})
        nursery.cancel_scope.cancel()


async def test_every_method_of_a_node_has_a_limit_both_ways() -> None:
    async with memory_swarm(1) as (node,):
        handlers = node.parts.ports.transport._handlers  # type: ignore[attr-defined]
        methods = [method for method in handlers if not method.startswith(METHOD_PREFIX)]
        assert len(methods) >= 14
        for method in methods:
            assert method in handlers._methods, method
            assert min(handlers._methods[method].request_bytes_max, handlers._methods[method].answer_bytes_max) > 0
