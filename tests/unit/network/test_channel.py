from __future__ import annotations

import contextlib
import logging
import socket
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from swarmharness.errors import (
    DeadlineError,
    ErrorKind,
    InputError,
    PeerLostError,
    ProtocolError,
    RefusedError,
    SwarmError,
)
from swarmharness.network.channel import Channel, ChannelEnd
from swarmharness.network.handlers import Handlers
from swarmharness.network.ports import Request
from swarmharness.network.settings import KIB, ChannelSettings
from swarmharness.protocol.frame import (
    Frame,
    FrameKind,
    encode_error,
    encode_frame,
    encode_request,
    encode_u64,
    encode_window,
    pack_u64,
    parse_close,
    parse_error,
    parse_request,
    parse_u64,
    parse_window,
)
from tests.unit.network.ends import LEFT, QUIET, RIGHT, Peer, channel_and_peer, echo, hang, two_channels

SMALL = ChannelSettings(heartbeat_s=0, close_timeout_s=0.02, inline_bytes_max=4 * KIB, window_bytes=64 * KIB)


def request(request_id: int, method: str = "echo", payload: bytes = b"", timeout_ms: int = 60_000) -> bytes:
    return encode_request(FrameKind.REQUEST, request_id, timeout_ms, method.encode(), payload)


# -- the handshake ------------------------------------------------------------------------------------------------


async def shake(first: bytes) -> tuple[Exception, list[Frame], list[str]]:
    here, there = memory_stream_pair()
    refusals: list[str] = []
    channel = Channel(here, RIGHT, Handlers(), QUIET, refuse=refusals.append)
    peer = Peer(there)
    await peer.say(first)
    with pytest.raises(Exception) as caught:  # noqa: PT011 (callers check its class)
        await channel.handshake()
    return caught.value, await peer.hear_end(), refusals


async def test_nothing_but_hello_is_accepted_first() -> None:
    error, heard, refusals = await shake(request(1))
    assert isinstance(error, ProtocolError)
    assert refusals == ["hello"]
    assert [frame.kind for frame in heard] == [FrameKind.HELLO, FrameKind.CLOSE]
    assert "not HELLO" in parse_close(heard[1].body)


@pytest.mark.parametrize(
    "first",
    [encode_frame(FrameKind.HELLO, 0, b""), encode_frame(FrameKind.HELLO, 0, b"\x94\x01"), b"GET / HTTP/1.1\r\n\r\n"],
)
async def test_a_malformed_hello_is_a_protocol_error(first: bytes) -> None:
    error, _, refusals = await shake(first)
    assert isinstance(error, ProtocolError)
    assert refusals == ["hello"]


async def test_a_peer_of_another_version_is_told_why() -> None:
    future = bytes.fromhex("9401 9102 a1 78 ce 00100000".replace(" ", ""))  # [1, [2], "x", 1048576]
    error, heard, _ = await shake(encode_frame(FrameKind.HELLO, 0, future))
    assert "versions [2]" in str(error)
    assert "upgrade" in parse_close(heard[1].body)


async def test_a_refusal_instead_of_hello_is_a_lost_peer_with_its_reason() -> None:
    error, _, _ = await shake(encode_frame(FrameKind.CLOSE, 0, b"full"))
    assert isinstance(error, PeerLostError)
    assert "full" in str(error)


async def test_a_silent_peer_is_given_up_after_the_hello_timeout(autojump_clock: MockClock) -> None:
    here, there = memory_stream_pair()
    channel = Channel(here, RIGHT, Handlers(), QUIET)
    with pytest.raises(DeadlineError, match="within 8 s"):
        await channel.handshake()
    assert trio.current_time() == 8
    await there.aclose()


async def test_a_stream_that_ends_before_hello_is_a_lost_peer() -> None:
    here, there = memory_stream_pair()
    await there.aclose()
    with pytest.raises(PeerLostError):
        await Channel(here, RIGHT, Handlers(), QUIET).handshake()


# -- calls --------------------------------------------------------------------------------------------------------


async def test_a_channel_runs_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    here = await trio.open_unix_socket(path)
    accepted, _ = listener.accept()
    listener.close()
    there = trio.SocketStream(trio.socket.from_stdlib_socket(accepted))
    caller, server = Channel(here, RIGHT, Handlers(), QUIET), Channel(there, LEFT, Handlers({"echo": echo}), QUIET)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.handshake)
        nursery.start_soon(server.handshake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caller.run)
        nursery.start_soon(server.run)
        assert await caller.call("echo", b"x" * 100_000, timeout_s=5) == b"x" * 100_000
        caller.close("done")
    assert server.end == ChannelEnd("done", farewell=True)


async def test_without_bulk_a_large_payload_is_refused_before_it_is_sent() -> None:
    async with two_channels({"echo": echo}) as (caller, _):
        with pytest.raises(InputError, match="at most 262144"):
            await caller.call("echo", bytes(262_145), timeout_s=5)
        assert await caller.call("echo", bytes(262_144), timeout_s=5) == bytes(262_144)


async def test_without_bulk_a_large_answer_is_an_error_of_that_call_only() -> None:
    async def large(_: Request) -> bytes:
        return bytes(262_145)

    async with two_channels({"large": large, "echo": echo}) as (caller, _):
        with pytest.raises(InputError, match="262145 bytes"):
            await caller.call("large", b"", timeout_s=5)
        assert await caller.call("echo", b"x", timeout_s=5) == b"x"


@pytest.mark.parametrize("method", ["", "m" * 256, "é" * 128])
async def test_a_method_that_does_not_fit_its_length_byte_is_refused(method: str) -> None:
    async with two_channels({}) as (caller, _):
        with pytest.raises(InputError, match="1 to 255 bytes"):
            await caller.call(method, b"", timeout_s=5)


async def test_a_call_after_the_end_says_why_it_ended() -> None:
    async with two_channels({}) as (caller, server):
        server.close("maintenance")
        await wait_all_tasks_blocked()
        with pytest.raises(PeerLostError, match="maintenance"):
            await caller.call("echo", b"", timeout_s=5)
        assert caller.end == ChannelEnd("maintenance", farewell=True)


async def test_cancelling_run_says_goodbye() -> None:
    async with channel_and_peer() as (channel, peer, _):
        await wait_all_tasks_blocked()
        assert channel._nursery is not None
        channel._nursery.cancel_scope.cancel()
        frames = await peer.hear_end()
    assert [frame.kind for frame in frames] == [FrameKind.CLOSE]


async def test_an_error_keeps_its_kind_even_if_this_version_does_not_know_it() -> None:
    async with channel_and_peer() as (channel, peer, _):
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                with pytest.raises(SwarmError, match="from the future") as caught:
                    await channel.call("x", b"", timeout_s=5)
                assert caught.value.kind == ErrorKind.INTERNAL

            nursery.start_soon(call)
            asked = await peer.hear()
            await peer.say(encode_error(asked.request_id, 99, "from the future"))


async def test_a_group_of_one_error_is_that_error() -> None:
    async def fail(_: Request) -> bytes:
        async with trio.open_nursery():
            raise RefusedError("inside a nursery")

    async with two_channels({"fail": fail}) as (caller, _):
        with pytest.raises(RefusedError, match="inside a nursery"):
            await caller.call("fail", b"", timeout_s=5)


# -- deadlines and cancellation -----------------------------------------------------------------------------------


async def test_n3_a_call_ends_at_its_deadline_though_the_peer_is_silent(autojump_clock: MockClock) -> None:
    async with channel_and_peer() as (channel, peer, _):
        with pytest.raises(DeadlineError, match=r"slow: no answer within 2\.5 s"):
            await channel.call("slow", b"", timeout_s=2.5)
        assert trio.current_time() == 2.5
        asked, cancelled = await peer.hear(), await peer.hear()
    assert parse_request(asked.body).timeout_ms == 2500
    assert (cancelled.kind, cancelled.request_id) == (FrameKind.CANCEL, asked.request_id)


async def test_n3_deadlines_are_kept_in_any_order(autojump_clock: MockClock) -> None:
    ended: list[tuple[float, float]] = []
    async with channel_and_peer() as (channel, _, _):

        async def call(timeout_s: float) -> None:
            with pytest.raises(DeadlineError):
                await channel.call("slow", b"", timeout_s=timeout_s)
            ended.append((timeout_s, trio.current_time()))

        async with trio.open_nursery() as nursery:
            for timeout_s in (5, 1, 3, 2, 4):
                nursery.start_soon(call, timeout_s)
    assert ended == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


async def test_a_handler_is_cancelled_at_the_callers_deadline_and_says_so(autojump_clock: MockClock) -> None:
    async with channel_and_peer({"hang": hang}) as (_, peer, _):
        await peer.say(request(1, "hang", timeout_ms=1500))
        frame = await peer.hear()
        assert trio.current_time() == 1.5
    assert parse_error(frame.body)[0] == ErrorKind.DEADLINE


async def test_a_cancelled_call_sends_cancel_and_a_late_answer_is_ignored() -> None:
    async with channel_and_peer() as (channel, peer, refusals):
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                await channel.call("slow", b"", timeout_s=60)

            nursery.start_soon(call)
            asked = await peer.hear()
            nursery.cancel_scope.cancel()
        assert (await peer.hear()) == Frame(FrameKind.CANCEL, asked.request_id, b"")
        await peer.frame(FrameKind.RESPONSE, asked.request_id, b"late")
        await wait_all_tasks_blocked()
        assert (channel.end, refusals) == (None, [])


async def test_cancel_ends_the_handler_without_an_answer() -> None:
    async with channel_and_peer({"hang": hang, "echo": echo}) as (_, peer, _):
        await peer.say(request(1, "hang"))
        await wait_all_tasks_blocked()
        await peer.frame(FrameKind.CANCEL, 1)
        await peer.say(request(2, "echo", b"next"))
        assert await peer.hear() == Frame(FrameKind.RESPONSE, 2, b"next")


async def test_a_request_and_its_cancel_in_one_chunk_are_in_order() -> None:
    finished: list[str] = []

    async def handler(_: Request) -> bytes:
        await trio.lowlevel.checkpoint()
        finished.append("the handler")
        return b""

    async with channel_and_peer({"wait": handler, "echo": echo}) as (_, peer, _):
        await peer.say(request(1, "wait") + encode_frame(FrameKind.CANCEL, 1) + request(2, "echo", b"x"))
        assert await peer.hear() == Frame(FrameKind.RESPONSE, 2, b"x")
    assert finished == []


# -- flow control ---------------------------------------------------------------------------------------------------


async def test_calls_wait_for_the_peers_window_in_their_order() -> None:
    async with channel_and_peer(settings=SMALL, window_bytes=64 * KIB) as (channel, peer, _):
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(partial(channel.call, "m", bytes([number]) * 4000, timeout_s=60))
                await wait_all_tasks_blocked()
            first = [await peer.hear() for _ in range(16)]  # 16 x 4006 bytes fit 65536
            with trio.move_on_after(0.05) as nothing_more:
                await peer.hear()
            assert nothing_more.cancelled_caught
            await peer.say(encode_window(4006))
            second = [await peer.hear()]
            await peer.say(encode_window(3 * 4006))
            second += [await peer.hear() for _ in range(3)]
            turns = [parse_request(frame.body).payload[0] for frame in first + second]
            assert turns[:17] == list(range(17))
            assert sorted(turns[17:]) == [17, 18, 19]  # admitted together, so in any order
            for frame in first + second:
                await peer.frame(FrameKind.RESPONSE, frame.request_id)


async def test_a_call_that_gives_up_waiting_makes_room_for_the_next(autojump_clock: MockClock) -> None:
    async with channel_and_peer(settings=SMALL, window_bytes=64 * KIB) as (channel, peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(partial(channel.call, "m", bytes(4000), timeout_s=60))
            await wait_all_tasks_blocked()
            with pytest.raises(DeadlineError, match="too busy"):
                await channel.call("m", bytes(4000), timeout_s=1)
            with trio.move_on_after(1):
                await channel.call("m", bytes(4000), timeout_s=10)
            heard = [await peer.hear() for _ in range(16)]
            for frame in heard:
                await peer.say(encode_window(4006) + encode_frame(FrameKind.RESPONSE, frame.request_id))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(channel.call, "m", bytes(4000), timeout_s=60))
            await peer.frame(FrameKind.RESPONSE, (await peer.hear()).request_id)


async def test_the_cap_on_calls_in_flight_makes_further_ones_wait() -> None:
    capped = ChannelSettings(heartbeat_s=0, close_timeout_s=0.02, calls_max=2)
    async with channel_and_peer(settings=capped) as (channel, peer, _):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(partial(channel.call, "m", b"", timeout_s=60))
            first, second = await peer.hear(), await peer.hear()
            with trio.move_on_after(0.05) as nothing_more:
                await peer.hear()
            assert nothing_more.cancelled_caught
            await peer.frame(FrameKind.RESPONSE, first.request_id)
            third = await peer.hear()
            for frame in (second, third):
                await peer.frame(FrameKind.RESPONSE, frame.request_id)


async def test_credit_is_given_back_when_handlers_are_done() -> None:
    async with channel_and_peer({"echo": echo}, SMALL) as (_, peer, _):
        given_back = 0
        for number in range(1, 40):
            await peer.say(request(number, "echo", bytes(4000)))
            frame = await peer.hear()
            if frame.kind == FrameKind.WINDOW:
                given_back += parse_window(frame.body)
                frame = await peer.hear()
            assert frame.kind == FrameKind.RESPONSE
        assert given_back >= 39 * 4009 - SMALL.window_bytes // 4 - 4009


async def test_n2_a_peer_that_ignores_the_window_is_cut_off() -> None:
    async with channel_and_peer({"hang": hang}, SMALL) as (channel, peer, refusals):
        for number in range(1, 18):
            await peer.say(request(number, "hang", bytes(4000)))
        await peer.hear_end()
        assert channel.end is not None
        assert "more request bytes than its window" in channel.end.reason
        assert refusals == ["frame"]


async def test_too_many_calls_in_progress_are_refused_one_by_one() -> None:
    capped = ChannelSettings(heartbeat_s=0, close_timeout_s=0.02, handlers_max=2)
    async with channel_and_peer({"hang": hang}, capped) as (channel, peer, refusals):
        for number in (1, 2, 3):
            await peer.say(request(number, "hang"))
        frame = await peer.hear()
        assert (frame.request_id, parse_error(frame.body)[0]) == (3, ErrorKind.REFUSED)
        assert refusals == ["overload"]
        await peer.frame(FrameKind.CANCEL, 1)
        await wait_all_tasks_blocked()
        await peer.say(request(4, "unknown"))
        assert (await peer.hear()).request_id == 4
        assert channel.end is None


async def test_a_peer_that_does_not_read_its_answers_is_cut_off() -> None:
    async def large(_: Request) -> bytes:
        return bytes(200_000)

    settings = ChannelSettings(heartbeat_s=0, close_timeout_s=0.02, queue_bytes_max=3_000_000)
    here, there = memory_stream_pair()
    stuck = trio.Event()
    here.send_stream.send_all_hook = stuck.wait
    channel = Channel(here, RIGHT, Handlers({"large": large}), settings)
    peer = Peer(there)
    await peer.hello()
    stuck.set()
    await channel.handshake()
    here.send_stream.send_all_hook = trio.Event().wait  # from now on nothing is taken
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run)
        with contextlib.suppress(trio.BrokenResourceError):
            for number in range(1, 30):
                await peer.say(request(number, "large"))
    assert channel.end is not None
    assert "does not read" in channel.end.reason


# -- the heartbeat --------------------------------------------------------------------------------------------------


async def test_n3_a_peer_that_answers_no_heartbeat_is_dropped_within_10_s(autojump_clock: MockClock) -> None:
    async with channel_and_peer(settings=ChannelSettings()) as (channel, peer, _):
        for _ in range(5):
            ping = await peer.hear()
            assert ping.kind == FrameKind.PING
            await peer.say(encode_u64(FrameKind.PONG, 0, parse_u64(ping.body)))
        last_answer_s = trio.current_time()
        while channel.end is None:
            await trio.sleep(0.1)
        assert channel.end == ChannelEnd("the peer stopped answering", farewell=False)
        assert 6 <= trio.current_time() - last_answer_s < 10


async def test_n3_calls_under_way_fail_when_the_heartbeat_gives_up(autojump_clock: MockClock) -> None:
    async with channel_and_peer(settings=ChannelSettings()) as (channel, _, _):
        with pytest.raises(PeerLostError, match="stopped answering"):
            await channel.call("m", b"", timeout_s=3600)
        assert trio.current_time() < 10


async def test_the_heartbeat_is_answered_while_handlers_are_busy() -> None:
    async with channel_and_peer({"hang": hang}) as (_, peer, _):
        await peer.say(request(1, "hang"))
        await peer.say(encode_u64(FrameKind.PING, 0, 12345))
        assert await peer.hear() == Frame(FrameKind.PONG, 0, pack_u64(12345))


async def test_two_channels_live_on_their_heartbeat_alone(autojump_clock: MockClock) -> None:
    beating = ChannelSettings()
    async with two_channels({}, beating, beating) as (caller, server):
        await trio.sleep(3600)
        assert (caller.end, server.end) == (None, None)
        assert caller.round_trip_us is not None


# -- hostile frames -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_frame(FrameKind.HELLO, 0, b"\x94\x01"), "second HELLO"),
        (encode_frame(99, 0), "unknown kind"),
        (b"\xff\xff\xff\xff", "frame of 4294967295 bytes"),
        (bytes(9), "frame of 0 bytes"),
        (encode_frame(FrameKind.REQUEST, 1, b"abc"), "REQUEST: 3 bytes"),
        (request(7, "hang") + request(7, "hang"), "already in progress"),
        (encode_frame(FrameKind.WINDOW, 0, b""), "WINDOW: 0 bytes"),
        (encode_window(1), "more credit than was used"),
        (encode_frame(FrameKind.PING, 0, b"1"), "8 bytes"),
        (encode_frame(FrameKind.PONG, 0, b"1"), "8 bytes"),
        (encode_frame(FrameKind.ERROR, 1, b""), "ERROR: empty"),
        (encode_frame(FrameKind.CLOSE, 0, b"\xff"), "not UTF-8"),
        (encode_request(FrameKind.BULK_REQUEST, 1, 1, b"m", pack_u64(5)), "without bulk"),
        (encode_u64(FrameKind.BULK_RESPONSE, 1, 5), "without bulk"),
    ],
)
async def test_n2_a_broken_frame_ends_the_channel_and_is_counted(data: bytes, reason: str) -> None:
    async with channel_and_peer({"hang": hang}) as (channel, peer, refusals):
        await peer.say(data)
        await peer.hear_end()
        assert channel.end is not None
        assert reason in channel.end.reason
        assert not channel.end.farewell
        assert refusals == ["frame"]


async def test_answers_to_calls_that_nobody_made_are_ignored() -> None:
    async with channel_and_peer({"echo": echo}) as (channel, peer, refusals):
        await peer.frame(FrameKind.RESPONSE, 77, b"x")
        await peer.say(encode_error(78, 3, "x"))
        await peer.frame(FrameKind.CANCEL, 79)
        await peer.say(encode_u64(FrameKind.PONG, 0, 80))
        await peer.say(request(1, "echo", b"fine"))
        assert await peer.hear() == Frame(FrameKind.RESPONSE, 1, b"fine")
        assert (channel.end, refusals) == (None, [])


async def test_an_unexpected_exception_is_logged_and_the_channel_lives(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_: Request) -> bytes:
        raise ZeroDivisionError("private")

    with caplog.at_level(logging.ERROR):
        async with channel_and_peer({"fail": fail, "echo": echo}) as (_, peer, _):
            await peer.say(request(1, "fail") + request(2, "echo", b"x"))
            heard = {frame.request_id: frame for frame in (await peer.hear(), await peer.hear())}
            assert parse_error(heard[1].body) == (1, "the peer failed internally in 'fail': its log says why")
            assert heard[2] == Frame(FrameKind.RESPONSE, 2, b"x")
    assert "private" in caplog.text


async def test_request_numbers_wrap_around() -> None:
    async with two_channels({"echo": echo}, first_request_id=2**32 - 3) as (caller, _):
        for number in range(6):
            assert await caller.call("echo", bytes([number]), timeout_s=5) == bytes([number])


async def test_a_retired_channel_finishes_what_is_under_way() -> None:
    go_on = trio.Event()

    async def wait(_: Request) -> bytes:
        await go_on.wait()
        return b"done"

    async with two_channels({"wait": wait}) as (caller, server):
        answers: list[bytes] = []
        async with trio.open_nursery() as nursery:

            async def call() -> None:
                answers.append(await caller.call("wait", b"", timeout_s=5))

            nursery.start_soon(call)
            await wait_all_tasks_blocked()
            caller.retire()
            server.retire()
            await wait_all_tasks_blocked()
            assert (caller.end, server.end) == (None, None)
            go_on.set()
        await wait_all_tasks_blocked()
        assert answers == [b"done"]
        assert caller.end == ChannelEnd("duplicate", farewell=True)


async def test_a_call_has_no_more_time_than_the_server_gives(autojump_clock: MockClock) -> None:
    times: list[float] = []

    async def handler(request: Request) -> bytes:
        times.append(request.timeout_s)
        await trio.sleep_forever()
        raise AssertionError

    short = ChannelSettings(heartbeat_s=0, call_time_max_s=60)
    async with two_channels({"hang": handler}, right=short) as (caller, _):
        began_s = trio.current_time()
        with pytest.raises(DeadlineError):
            await caller.call("hang", b"", timeout_s=1_000_000)
        assert times == [60]
        assert trio.current_time() - began_s < 100
