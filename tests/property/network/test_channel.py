from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmharness.network.settings import KIB, ChannelSettings
from swarmharness.protocol.frame import FrameKind, encode_frame, encode_request
from tests.unit.network.ends import channel_and_peer, echo, hang, two_channels

SMALL = ChannelSettings(
    heartbeat_s=0, close_timeout_s=0.001, inline_bytes_max=16 * KIB, window_bytes=64 * KIB, calls_max=30
)

bodies = st.binary(max_size=40)
hostile = st.one_of(
    st.binary(max_size=60),
    st.builds(encode_frame, st.integers(0, 255), st.integers(0, 3), bodies),
    st.builds(
        encode_request,
        st.sampled_from([int(FrameKind.REQUEST), int(FrameKind.BULK_REQUEST)]),
        st.integers(0, 3),
        st.integers(0, 2**32 - 1),
        st.sampled_from([b"echo", b"hang", b"none", b"\xff"]),
        bodies,
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(hostile, max_size=12))
def test_whatever_a_peer_sends_the_channel_lives_or_ends_with_a_reason(sent: list[bytes]) -> None:
    async def main() -> None:
        async with channel_and_peer({"echo": echo, "hang": hang}, SMALL) as (channel, peer, refusals):
            for data in sent:
                try:
                    await peer.say(data)
                except trio.BrokenResourceError:
                    break
            await trio.testing.wait_all_tasks_blocked(0.001)
            if channel.end is not None and not channel.end.farewell:
                assert refusals
                assert channel.end.reason

    trio.run(main)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 16 * KIB).map(bytes), min_size=1, max_size=40))
def test_any_payloads_come_back_to_their_own_callers_through_small_windows(payloads: list[bytes]) -> None:
    async def main() -> None:
        answers: dict[int, bytes] = {}
        async with two_channels({"echo": echo}, SMALL, SMALL) as (caller, _):

            async def call(number: int, payload: bytes) -> None:
                answers[number] = await caller.call("echo", payload, timeout_s=30)

            async with trio.open_nursery() as nursery:
                for number, payload in enumerate(payloads):
                    nursery.start_soon(call, number, payload)
        assert answers == dict(enumerate(payloads))

    trio.run(main)
