"""What our Yamux does for streams, and what it does to peers that break its rules."""

from __future__ import annotations

import os

import pytest
import trio
from libp2p.stream_muxer.exceptions import MuxedConnUnavailable, MuxedStreamClosed, MuxedStreamEOF, MuxedStreamReset
from libp2p.stream_muxer.yamux.yamux import Yamux

from swarmharness.network.libp2p_yamux import YamuxConnection
from swarmharness.network.yamux_frames import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    PING,
    PROTOCOL_ERROR,
    RST,
    SYN,
    WINDOW,
    WINDOW_BYTES_FIRST,
    Header,
    header,
)
from swarmharness.network.yamux_node import MuxerFault
from tests.unit.network.yamux_ends import attacked, received, two

LARGE = os.urandom(3 * 1024 * 1024)


OTHERS = [pytest.param(None, id="ours"), pytest.param(Yamux, id="libp2p")]


@pytest.mark.parametrize("other", OTHERS)
async def test_both_sides_open_streams_and_each_gets_what_was_sent_on_its_own(other: type[Yamux] | None) -> None:
    async with two(other) as (_, left, right), trio.open_nursery() as nursery:
        answers: dict[int, bytes] = {}

        async def echo(connection: YamuxConnection, count: int) -> None:
            for _ in range(count):
                stream = await connection.accept_stream()
                nursery.start_soon(back, stream)

        async def back(stream: object) -> None:
            data = b""
            while len(data) < 100_000:
                data += await stream.read(65_536)  # type: ignore[attr-defined]
            await stream.write(data)  # type: ignore[attr-defined]
            await stream.close()  # type: ignore[attr-defined]

        async def ask(connection: YamuxConnection, number: int) -> None:
            stream = await connection.open_stream()
            await stream.write(bytes([number]) * 100_000)
            data = b""
            while len(data) < 100_000:
                data += await stream.read(65_536)
            answers[number] = data
            await stream.close()

        for connection in (left, right):
            nursery.start_soon(echo, connection, 25)
        for number in range(50):
            nursery.start_soon(ask, (left, right)[number % 2], number)
    assert answers == {number: bytes([number]) * 100_000 for number in range(50)}


@pytest.mark.parametrize("other", OTHERS)
async def test_more_than_a_window_goes_through_and_the_end_of_one_direction_ends_one(other: type[Yamux] | None) -> None:
    async with two(other) as (_, left, right), trio.open_nursery() as nursery:
        stream = await left.open_stream()

        async def send() -> None:
            await stream.write(LARGE)
            await stream.close()

        nursery.start_soon(send)
        accepted = await right.accept_stream()
        data = b""
        while len(data) < len(LARGE):
            data += await accepted.read(65_536)
        assert data == LARGE
        with pytest.raises(MuxedStreamEOF):
            await accepted.read(1)
        await accepted.write(b"still open")
        assert await stream.read(100) == b"still open"
        await accepted.close()
        with pytest.raises(MuxedStreamEOF):
            await stream.read(1)
        with pytest.raises(MuxedStreamClosed):
            await stream.write(b"more")


@pytest.mark.parametrize("other", OTHERS)
async def test_a_reset_ends_both_directions(other: type[Yamux] | None) -> None:
    async with two(other) as (_, left, right):
        stream = await left.open_stream()
        await stream.write(b"hello")
        accepted = await right.accept_stream()
        assert await accepted.read(100) == b"hello"
        await accepted.reset()
        with pytest.raises(MuxedStreamReset):
            await stream.read(1)
        with pytest.raises(MuxedStreamReset):
            await stream.write(b"more")
        assert left.streams() == []


async def test_both_sides_may_send_much_before_they_read() -> None:
    async with two() as (_, left, right), trio.open_nursery() as nursery:
        there = await left.open_stream()
        nursery.start_soon(there.send, LARGE)
        here = await right.accept_stream()
        nursery.start_soon(here.send, LARGE)
        await trio.testing.wait_all_tasks_blocked()
        got: dict[str, bytes] = {}

        async def read(name: str, stream: object) -> None:
            data = b""
            while len(data) < len(LARGE):
                data += await stream.receive(65_536)  # type: ignore[attr-defined]
            got[name] = data

        nursery.start_soon(read, "left", there)
        nursery.start_soon(read, "right", here)
    assert got == {"left": LARGE, "right": LARGE}


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    async with two() as (_, left, right), trio.open_nursery() as nursery:
        stream = await left.open_stream()
        nursery.start_soon(stream.send, LARGE)
        accepted = await right.accept_stream()
        data, attempts = b"", 0
        while len(data) < len(LARGE):
            attempts += 1
            with trio.CancelScope() as scope:
                if attempts % 2:
                    scope.cancel()
                data += await accepted.receive(50_001)
    assert data == LARGE


async def test_what_is_sent_stops_at_the_window_until_it_is_read() -> None:
    async with attacked() as (_, connection, peer), trio.open_nursery() as nursery:
        await peer.send(DATA, SYN, 1, body=b"x")
        stream = await connection.accept_stream()
        nursery.start_soon(stream.send, bytes(WINDOW_BYTES_FIRST + 10))
        sent = 0
        while sent < WINDOW_BYTES_FIRST:
            event = await peer.next()
            sent += len(event) if isinstance(event, bytes) else 0
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(PING, SYN, 0, 7)
        assert await peer.next() == Header(PING, ACK, 0, 7)
        await peer.send(WINDOW, 0, 1, 10)
        assert await peer.next() == Header(DATA, 0, 1, 10)


async def test_what_was_read_is_granted_again_and_no_more() -> None:
    async with attacked(stream_window_bytes_max=WINDOW_BYTES_FIRST) as (_, connection, peer):
        await peer.send(DATA, SYN, 1, body=bytes(WINDOW_BYTES_FIRST))
        stream = await connection.accept_stream()
        read = 0
        while read < WINDOW_BYTES_FIRST:
            read += len(await stream.receive(1_000))
        granted = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive, 1)
            while granted < WINDOW_BYTES_FIRST // 2:
                event = await peer.next()
                granted += event.length if isinstance(event, Header) and event.kind == WINDOW else 0
            nursery.cancel_scope.cancel()
        assert granted <= WINDOW_BYTES_FIRST


async def test_more_than_was_granted_ends_the_connection() -> None:
    async with attacked() as (end, connection, peer):
        await peer.send(DATA, SYN, 1, body=bytes(WINDOW_BYTES_FIRST))
        await peer.send(DATA, 0, 1, body=b"x")
        assert await peer.until(lambda event: isinstance(event, Header) and event.kind == GO_AWAY) == Header(
            GO_AWAY, 0, 0, PROTOCOL_ERROR
        )
        assert end.faults == [MuxerFault.WINDOW]
        assert connection.is_closed or not connection.is_established


@pytest.mark.parametrize(
    "frame", [(WINDOW, SYN, 2), (WINDOW, SYN, 0), (4, 0, 1)], ids=["our numbers", "no number", "no kind"]
)
async def test_what_is_no_yamux_ends_the_connection(frame: tuple[int, int, int]) -> None:
    async with attacked() as (end, _, peer):
        await peer.send(*frame)
        await peer.until(lambda event: isinstance(event, Header) and event.kind == GO_AWAY)
        assert end.faults == [MuxerFault.FRAME]


async def test_a_stream_that_is_opened_twice_ends_the_connection() -> None:
    async with attacked() as (end, _, peer):
        await peer.send(WINDOW, SYN, 1)
        await peer.send(WINDOW, SYN, 1)
        await peer.until(lambda event: isinstance(event, Header) and event.kind == GO_AWAY)
        assert end.faults == [MuxerFault.FRAME]


async def test_frames_of_streams_that_are_gone_are_passed_over() -> None:
    async with attacked() as (end, connection, peer):
        for flags in (0, FIN, RST):
            await peer.send(DATA, flags, 9, body=bytes(70_000))
            await peer.send(WINDOW, flags, 11, 5)
        await peer.send(DATA, SYN, 13, body=b"heard")
        assert await (await connection.accept_stream()).receive(100) == b"heard"
        assert end.faults == []


async def test_so_many_pings_are_answered_and_more_end_the_connection() -> None:
    async with attacked(muxer_pings_per_s=2) as (end, _, peer):
        for number in range(9):
            await peer.send(PING, SYN, 0, number)
        answers = 0
        while (event := await peer.next()) != Header(GO_AWAY, 0, 0, PROTOCOL_ERROR):
            assert event == Header(PING, ACK, 0, answers)
            answers += 1
        assert answers <= 8
        assert end.faults == [MuxerFault.PINGS]


async def test_a_silent_stream_is_not_handed_up_and_one_that_ends_so_is_reset() -> None:
    async with attacked() as (end, connection, peer):
        await peer.send(WINDOW, SYN, 1)
        await peer.send(WINDOW, SYN, 3)
        await peer.send(WINDOW, FIN, 1)
        await peer.send(DATA, 0, 3, body=b"word")
        stream = await connection.accept_stream()
        assert stream.number == 3
        assert await peer.until(lambda event: event == Header(WINDOW, RST, 1, 0))
        assert end.node.silent_streams == 0


async def test_a_connection_has_so_many_streams_and_further_ones_are_reset() -> None:
    async with attacked(streams_per_connection_max=16) as (end, connection, peer):
        for number in range(1, 41, 2):
            await peer.send(WINDOW, SYN, number)
        for number in range(33, 41, 2):
            assert await peer.next() == Header(WINDOW, RST, number, 0)
        assert len(connection.streams()) == 16
        assert end.faults == [MuxerFault.STREAMS] * 4


async def test_bytes_that_nobody_reads_cost_the_stream_that_was_not_read_for_longest() -> None:
    async with attacked(unread_bytes_per_connection_max=1_000_000) as (end, connection, peer):
        streams = []
        for number in range(1, 11, 2):
            await peer.send(DATA, SYN, number, body=bytes(200_000))
            streams.append(await connection.accept_stream())
        assert await peer.next() == Header(WINDOW, RST, 1, 0)
        with pytest.raises(MuxedStreamReset):
            await streams[0].receive(1)
        assert connection.held_bytes <= 1_000_000
        assert end.faults == [MuxerFault.UNREAD]
        assert await streams[-1].receive(1) == b"\x00"


async def test_a_peer_that_opens_streams_too_fast_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with attacked(stream_opens_per_s=10) as (end, connection, peer):
        began_s = trio.current_time()
        for number in range(1, 81, 2):
            await peer.send(DATA, SYN, number, body=b"x")
        for _ in range(40):
            await connection.accept_stream()
        assert trio.current_time() - began_s == pytest.approx(2, abs=0.2)
        assert 18 <= len(end.faults) <= 20
        assert set(end.faults) == {MuxerFault.OPENS}


async def test_a_peer_that_sends_frames_too_fast_waits(autojump_clock: trio.testing.MockClock) -> None:
    async with attacked(muxer_frames_per_s=100) as (end, connection, peer):
        began_s = trio.current_time()
        await peer.stream.send_all(b"\x00\x01\x00\x00\x00\x00\x00\x09\x00\x00\x00\x01" * 40_000)
        await peer.send(DATA, SYN, 1, body=b"x")
        await connection.accept_stream()
        assert trio.current_time() - began_s > 100
        assert set(end.faults) == {MuxerFault.FRAMES}


async def test_a_write_that_fails_ends_the_connection_at_once() -> None:
    async with two() as (_, left, right):
        stream = await left.open_stream()
        await stream.write(b"x")
        accepted = await right.accept_stream()
        left.secured_conn.broken = True
        with pytest.raises(MuxedConnUnavailable):
            await stream.write(b"more")
        await left.event_closed.wait()
        await right.event_closed.wait()
        with pytest.raises(MuxedConnUnavailable):
            await left.open_stream()
        assert await accepted.receive(10) == b"x"
        with pytest.raises(MuxedConnUnavailable):
            await accepted.receive(10)


async def test_the_end_of_a_connection_wakes_all_who_wait_for_it() -> None:
    async with attacked() as (_, connection, peer), trio.open_nursery() as nursery:
        await peer.send(DATA, SYN, 1, body=b"x")
        stream = await connection.accept_stream()
        ended: list[str] = []

        async def expect(name: str, wait: object) -> None:
            with pytest.raises(MuxedConnUnavailable):
                await wait()  # type: ignore[operator]
            ended.append(name)

        async def drain() -> None:
            while True:
                await stream.receive(10)

        nursery.start_soon(expect, "read", drain)
        nursery.start_soon(expect, "write", lambda: stream.send(bytes(10 * WINDOW_BYTES_FIRST)))
        nursery.start_soon(expect, "accept", connection.accept_stream)
        await trio.testing.wait_all_tasks_blocked()
        await peer.send(GO_AWAY, 0, 0)
        await connection.event_closed.wait()
    assert sorted(ended) == ["accept", "read", "write"]


async def test_all_of_what_came_before_the_end_is_read() -> None:
    async with two() as (_, left, right):
        stream = await left.open_stream()
        await stream.send(b"all of it")
        await stream.close()
        assert await received(await right.accept_stream()) == b"all of it"


async def test_what_comes_after_the_end_opens_nothing() -> None:
    async with attacked() as (end, connection, peer):
        for _ in range(8):
            await end.turns.take("others", known=False)
        connection._node.turns._spare_s = 0.0
        end.turns.clock_s = lambda: 0.0
        await peer.stream.send_all(b"".join(header(WINDOW, SYN, number) for number in range(1, 101, 2)))
        await connection.close()
        await trio.testing.wait_all_tasks_blocked()
        assert end.node.silent_streams == 0
