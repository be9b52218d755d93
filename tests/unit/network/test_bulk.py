from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from struct import pack

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from swarmharness.errors import DeadlineError, InputError, PeerLostError, ProtocolError, RefusedError
from swarmharness.network.budgets import Budget
from swarmharness.network.bulk import BulkExchange, BulkStream, Direction
from swarmharness.network.channel import Channel
from swarmharness.network.handlers import Handlers
from swarmharness.network.ports import Request
from swarmharness.network.settings import BulkSettings
from tests.unit.network.ends import LEFT, QUIET, RIGHT, echo

SETTINGS = BulkSettings(payload_bytes_max=1_000_000, memory_bytes_max=2_000_000)


class Stream:
    """A memory stream with the reset of a libp2p stream."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._other: Stream | None = None
        self._was_reset = False

    @classmethod
    def pair(cls) -> tuple[Stream, Stream]:
        left, right = (cls(stream) for stream in memory_stream_pair())
        left._other, right._other = right, left
        return left, right

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def receive_some(self, max_bytes: int) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        if not data and self._was_reset:
            raise trio.BrokenResourceError
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def reset(self) -> None:
        if self._other is not None:
            self._other._was_reset = True
        await trio.aclose_forcefully(self._stream)


class Side:
    """One side's exchange, whose streams are accepted by the other."""

    def __init__(self, nursery: trio.Nursery, settings: BulkSettings, budget: Budget | None = None) -> None:
        self._nursery = nursery
        self.refusals: list[str] = []
        budget = budget or Budget(settings.memory_bytes_max, 0)
        self.memory = budget.share(known=True)
        self.exchange = BulkExchange(self.open, settings, self.memory, self.refusals.append)
        self.other: Side | None = None

    async def open(self) -> BulkStream:
        assert self.other is not None
        here, there = Stream.pair()
        self._nursery.start_soon(self.other.exchange.accept, there)
        return here


@asynccontextmanager
async def sides(settings: BulkSettings = SETTINGS) -> AsyncIterator[tuple[Side, Side]]:
    async with trio.open_nursery() as nursery:
        left, right = Side(nursery, settings), Side(nursery, settings)
        left.other, right.other = right, left
        yield left, right
        nursery.cancel_scope.cancel()


def wire(request_id: int, payload: bytes, *, digest: bytes | None = None, size: int | None = None) -> bytes:
    header = pack(">IBQ", request_id, Direction.REQUEST, len(payload) if size is None else size)
    return header + payload + (hashlib.sha256(payload).digest() if digest is None else digest)


async def receive(side: Side, data: bytes, *, announced: int) -> bytes:
    """Feed `data` on a stream and take the payload that was announced with `announced` bytes."""
    here, there = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(side.exchange.accept, Stream(there))
        await here.send_all(data)
        await here.send_stream.aclose()
        return await side.exchange.receive(1, Direction.REQUEST, announced)


@pytest.mark.parametrize("size", [0, 1, 65_507, 65_508, 1_000_000])
async def test_a_payload_arrives_whole(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    async with sides() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.exchange.send, 1, Direction.RESPONSE, payload[:size])
        assert await right.exchange.receive(1, Direction.RESPONSE, size) == payload[:size]
    assert right.memory.held == 0


async def test_a_stream_that_is_faster_than_its_announcement_waits_for_it() -> None:
    async with sides() as (left, right), trio.open_nursery() as nursery:
        nursery.start_soon(left.exchange.send, 1, Direction.REQUEST, b"early")
        await wait_all_tasks_blocked()
        assert await right.exchange.receive(1, Direction.REQUEST, 5) == b"early"


async def group_free(error: type[Exception], side: Side, data: bytes, announced: int) -> str:
    with pytest.RaisesGroup(error, flatten_subgroups=True, allow_unwrapped=True) as caught:
        await receive(side, data, announced=announced)
    value: BaseException = caught.value
    while isinstance(value, BaseExceptionGroup):
        value = value.exceptions[0]
    return str(value)


async def test_a_wrong_digest_is_refused_and_counted() -> None:
    async with sides() as (_, right):
        message = await group_free(ProtocolError, right, wire(1, b"abc", digest=bytes(32)), 3)
    assert "wrong digest" in message
    assert right.refusals == ["digest"]
    assert right.memory.held == 0


async def test_a_size_other_than_announced_is_refused() -> None:
    async with sides() as (_, right):
        message = await group_free(ProtocolError, right, wire(1, b"abcd"), 3)
    assert "4 bytes came where 3 were announced" in message
    assert right.refusals == ["bulk size"]


async def test_a_payload_that_ends_early_is_a_lost_peer() -> None:
    async with sides() as (_, right):
        message = await group_free(PeerLostError, right, wire(1, b"abc", size=10)[:20], 10)
    assert "ended early" in message


async def test_n2_an_oversized_announcement_is_refused_before_anything_is_kept() -> None:
    async with sides() as (_, right):
        with pytest.raises(InputError, match="1000001 bytes exceeds the maximum of 1000000"):
            await right.exchange.receive(1, Direction.REQUEST, 1_000_001)
        with pytest.raises(InputError):
            await right.exchange.receive(1, Direction.REQUEST, 2**64 - 1)
    assert right.refusals == ["oversized", "oversized"]
    assert right.memory.held == 0


async def test_n2_the_announced_bytes_of_one_peer_are_bounded_together() -> None:
    async with sides() as (_, right), trio.open_nursery() as nursery:
        nursery.start_soon(right.exchange.receive, 1, Direction.REQUEST, 1_000_000)
        await wait_all_tasks_blocked()
        with pytest.raises(RefusedError, match="too many large payloads"):
            await right.exchange.receive(2, Direction.REQUEST, 600_000)
        assert right.memory.held == 1_000_000
        nursery.cancel_scope.cancel()
    assert right.refusals == ["bulk memory"]
    assert right.memory.held == 0


async def test_four_peers_that_announce_and_stall_leave_room_and_are_given_up(autojump_clock: MockClock) -> None:
    """D5: what a crowd may make a node hold is bounded for all of them together, and for a time."""
    budget = Budget(SETTINGS.memory_bytes_max, 0)
    async with trio.open_nursery() as nursery:
        crowd = [Side(nursery, SETTINGS, budget) for _ in range(4)]
        errors: list[Exception] = []

        async def stall(side: Side) -> None:
            try:
                here, there = memory_stream_pair()
                nursery.start_soon(side.exchange.accept, Stream(there))
                await here.send_all(wire(1, bytes(700_000))[:300_000])
                await side.exchange.receive(1, Direction.REQUEST, 700_000)
            except (RefusedError, PeerLostError) as error:
                errors.append(error)

        for side in crowd:
            nursery.start_soon(stall, side)
            await wait_all_tasks_blocked()
        assert sum(side.memory.held for side in crowd) == 700_000
        assert budget.share(known=True).take(600_000), "room for an honest peer"
        assert budget.share(known=True).take(300_000), "and for another one"
        await trio.sleep(2 * SETTINGS.rate_period_s)
        nursery.cancel_scope.cancel()
    assert [type(error) for error in errors] == [RefusedError, RefusedError, RefusedError, PeerLostError]
    assert "less than 4096 bytes a second" in str(errors[-1])
    assert Counter(reason for side in crowd for reason in side.refusals) == {
        "bulk memory": 3,
        "bulk stream": 3,  # of those who had no room
        "bulk rate": 1,
    }
    assert sum(side.memory.held for side in crowd) == 0


async def test_a_payload_on_a_slow_link_arrives(autojump_clock: MockClock) -> None:
    payload = bytes(400_000)
    async with sides() as (_, right), trio.open_nursery() as nursery:
        here, there = memory_stream_pair()
        nursery.start_soon(right.exchange.accept, Stream(there))

        async def trickle() -> None:
            data = wire(1, payload)
            for start in range(0, len(data), 8 * 25_000):  # 25 KB a second, by fits and starts
                await here.send_all(data[start : start + 8 * 25_000])
                await trio.sleep(8)

        nursery.start_soon(trickle)
        assert await right.exchange.receive(1, Direction.REQUEST, len(payload)) == payload
    assert right.refusals == []


async def test_the_memory_of_a_request_is_its_peers_until_its_handler_ends() -> None:
    done = trio.Event()

    async def work(request: Request) -> bytes:
        await done.wait()
        return b"%d" % len(request.payload)

    async with channels(work=work) as (caller, _, right), trio.open_nursery() as nursery:
        nursery.start_soon(partial(caller.call, "work", bytes(300_000), timeout_s=5))
        await wait_all_tasks_blocked(0.01)
        assert right.memory.held == 300_000
        done.set()
        await wait_all_tasks_blocked(0.01)
        assert right.memory.held == 0


async def test_an_announced_payload_that_never_comes_is_given_up(autojump_clock: MockClock) -> None:
    async with sides() as (_, right):
        with pytest.raises(PeerLostError, match="did not come"):
            await right.exchange.receive(1, Direction.REQUEST, 5)
        assert trio.current_time() == SETTINGS.announce_timeout_s


async def test_a_stream_that_nobody_announced_is_refused(autojump_clock: MockClock) -> None:
    async with sides() as (left, right):
        with pytest.raises(PeerLostError):
            await left.exchange.send(9, Direction.REQUEST, b"unwanted")
    assert right.refusals == ["bulk stream"]


async def test_a_second_stream_for_one_payload_is_refused(autojump_clock: MockClock) -> None:
    async with sides() as (left, right), trio.open_nursery() as nursery:
        first, there = memory_stream_pair()
        nursery.start_soon(right.exchange.accept, Stream(there))
        nursery.start_soon(right.exchange.receive, 1, Direction.REQUEST, 6)
        await first.send_all(wire(1, b"first!")[:15])
        await wait_all_tasks_blocked()
        with pytest.raises(PeerLostError):
            await left.exchange.send(1, Direction.REQUEST, b"second")
        await first.send_all(wire(1, b"first!")[15:])
    assert right.refusals == ["bulk stream"]


async def test_no_more_streams_than_the_limit_are_read(autojump_clock: MockClock) -> None:
    async with sides(replace(SETTINGS, streams_max=2)) as (_, right), trio.open_nursery() as nursery:
        streams = [memory_stream_pair() for _ in range(3)]
        for _, there in streams:
            nursery.start_soon(right.exchange.accept, Stream(there))
        await wait_all_tasks_blocked()
        assert right.refusals == ["bulk stream"]


async def test_the_end_of_the_channel_ends_what_is_arriving() -> None:
    async with sides() as (_, right), trio.open_nursery() as nursery:
        here, there = memory_stream_pair()
        nursery.start_soon(right.exchange.accept, Stream(there))
        await here.send_all(wire(1, b"x" * 100)[:50])

        async def take() -> None:
            with pytest.raises(PeerLostError, match="gone fishing"):
                await right.exchange.receive(1, Direction.REQUEST, 100)

        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        right.exchange.close("gone fishing")


# -- with channels on top -------------------------------------------------------------------------------------------


@asynccontextmanager
async def channels(**handlers: object) -> AsyncIterator[tuple[Channel, Side, Side]]:
    async with sides() as (left, right):
        here, there = memory_stream_pair()
        caller = Channel(here, RIGHT, Handlers(), QUIET, bulk=left.exchange)
        server = Channel(there, LEFT, Handlers(handlers), QUIET, bulk=right.exchange)  # type: ignore[arg-type]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.handshake)
            nursery.start_soon(server.handshake)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(caller.run)
            nursery.start_soon(server.run)
            yield caller, left, right
            nursery.cancel_scope.cancel()


async def test_large_requests_and_answers_travel_in_bulk() -> None:
    payload = bytes(range(256)) * 2000
    async with channels(echo=echo) as (caller, _, right):
        assert await caller.call("echo", payload, timeout_s=5) == payload
    assert right.refusals == []


async def test_cancelling_a_call_stops_its_payload_and_its_handler() -> None:
    async with channels(echo=echo) as (caller, left, right):

        async def never() -> BulkStream:
            await trio.sleep_forever()
            raise AssertionError

        left.exchange._open_stream = never
        with trio.move_on_after(0.05):
            await caller.call("echo", bytes(500_000), timeout_s=60)
        await wait_all_tasks_blocked()
        assert right.memory.held == 0


async def test_a_deadline_passes_while_the_answer_arrives(autojump_clock: MockClock) -> None:
    async def large(_: Request) -> bytes:
        return bytes(500_000)

    async with channels(large=large) as (caller, _, right):

        async def slow() -> BulkStream:
            await trio.sleep(3)
            raise trio.BrokenResourceError

        right.exchange._open_stream = slow
        with pytest.raises(DeadlineError, match="still arriving after 2 s"):
            await caller.call("large", b"", timeout_s=2)


async def test_a_call_whose_payload_cannot_be_sent_fails() -> None:
    async with channels(echo=echo) as (caller, left, _):

        async def broken() -> BulkStream:
            raise trio.BrokenResourceError

        left.exchange._open_stream = broken
        with pytest.raises(PeerLostError, match="no stream"):
            await caller.call("echo", bytes(500_000), timeout_s=5)
