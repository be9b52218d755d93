"""What one channel may take up of its node: memory, calls, tasks and turns, against peers that want more."""

from __future__ import annotations

from collections import Counter
from struct import pack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from swarmharness.errors import ProtocolError
from swarmharness.network.channel import Channel
from swarmharness.network.greeting import HELLO_BYTES_MAX
from swarmharness.network.handlers import Handlers
from swarmharness.network.limits import Limits
from swarmharness.network.room import PeerRoom, Room
from swarmharness.network.settings import MIB
from swarmharness.protocol.frame import FrameKind, encode_frame, encode_request, encode_u64
from tests.unit.network.ends import QUIET, RIGHT, Peer, echo, hang


def stranger(room: Room) -> PeerRoom:
    return room.peer(lambda: False)


class Ends:
    """Channels to peers that are driven by hand, all in one room."""

    def __init__(self, nursery: trio.Nursery, **limits: Any) -> None:
        self.room = Room(Limits(**limits), 512 * MIB)
        self.refused: Counter[str] = Counter()
        self._nursery = nursery

    async def meet(self, *, known: bool = False) -> tuple[Channel, Peer]:
        here, there = memory_stream_pair()
        channel = Channel(
            here,
            RIGHT,
            Handlers({"hang": hang, "echo": echo}),
            QUIET,
            room=self.room.peer(lambda: known),
            refuse=lambda reason: self.refused.update([reason]),
        )
        peer = Peer(there)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.handshake)
            await peer.hello()
            assert (await peer.hear()).kind == FrameKind.HELLO
        self._nursery.start_soon(channel.run)
        return channel, peer


def request(number: int, method: bytes = b"hang", size: int = 0) -> bytes:
    return encode_request(FrameKind.REQUEST, number, 60_000, method, bytes(size))


async def test_strangers_calls_are_bounded_together_and_known_peers_have_room() -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, turn_ms=1000, calls_max=100, calls_of_strangers_max=30)
        crowd = [await ends.meet() for _ in range(10)]
        for _, peer in crowd:
            await peer.say(b"".join(map(request, range(1, 41))))
        await wait_all_tasks_blocked()
        running = 100 - ends.room.calls.free
        assert 20 <= running <= 30
        assert ends.refused == {"overload": 400 - running}
        _, friend = await ends.meet(known=True)
        await friend.say(request(1, b"echo", 3))
        assert (await friend.hear()).kind == FrameKind.RESPONSE
        for channel, _ in crowd:
            channel.close("done")
        await wait_all_tasks_blocked(0.05)
        assert (ends.room.calls.free, ends.room.calls.strangers_free) == (100, 30)
        nursery.cancel_scope.cancel()


async def test_the_bytes_of_strangers_calls_are_bounded_together(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, strangers_payload_mib=1)
        crowd = [await ends.meet() for _ in range(10)]
        for number in range(1, 11):
            for _, peer in crowd:
                await peer.say(request(number, size=50_000))
                await trio.sleep(0.1)  # whole frames, one at a time
        assert MIB - 100_000 < MIB - ends.room.bytes.strangers_free <= MIB
        assert ends.refused == {"call memory": 100 - (MIB - ends.room.bytes.strangers_free) // 50_000}
        for channel, _ in crowd:
            channel.close("done")
        await wait_all_tasks_blocked(0.05)
        assert ends.room.bytes.free == 512 * MIB
        assert ends.room.bytes.strangers_free == MIB
        nursery.cancel_scope.cancel()


async def test_frames_that_are_never_whole_are_bounded_together() -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, strangers_payload_mib=1)
        crowd = [await ends.meet() for _ in range(10)]
        for _, peer in crowd:
            await peer.say(request(1, size=200_000)[:-1])
        await wait_all_tasks_blocked()
        ended = [channel.end.reason for channel, _ in crowd if channel.end]
        assert ended == ["this node has no memory for another large frame"] * 7
        assert ends.refused == {"frame memory": 7}
        for channel, peer in crowd:
            if not channel.end:
                await peer.say(b"\0")
        await wait_all_tasks_blocked()
        assert all(channel.end is None for channel, _ in crowd[:3])
        nursery.cancel_scope.cancel()
    assert ends.room.bytes.strangers_free == MIB


async def test_a_hello_that_does_not_end_is_refused_early() -> None:
    here, there = memory_stream_pair()
    refused: list[str] = []
    channel = Channel(here, RIGHT, Handlers(), QUIET, refuse=refused.append)
    async with trio.open_nursery() as nursery:

        async def greet() -> None:
            with pytest.raises(ProtocolError, match="hello has more than"):
                await channel.handshake()

        nursery.start_soon(greet)
        await there.send_all(encode_frame(FrameKind.HELLO, 0, bytes(200_000))[: HELLO_BYTES_MAX + 1])
    assert refused == ["hello"]


async def test_who_reads_nothing_is_bounded_with_all_strangers(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, strangers_payload_mib=1)
        crowd = [await ends.meet() for _ in range(10)]
        for channel, _ in crowd:
            channel._stream.send_stream.send_all_hook = trio.sleep_forever  # type: ignore[attr-defined]
        pings = encode_u64(FrameKind.PING, 0, 7) * 40_000
        for _, peer in crowd:
            with trio.move_on_after(60):
                await peer.say(pings)
        await trio.sleep(60)
        assert all(channel.end and "does not read" in channel.end.reason for channel, _ in crowd)
        assert ends.refused["not read"] == 10
        nursery.cancel_scope.cancel()
    assert ends.room.bytes.strangers_free == MIB


async def test_idle_tasks_are_bounded_for_the_node(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        for _ in range(40):
            _, peer = await ends.meet()
            short = b"".join(encode_request(FrameKind.REQUEST, number, 1, b"hang", b"") for number in range(1, 61))
            await peer.say(short)
        await trio.sleep(1)
        assert ends.room.idle_workers == 1024
        nursery.cancel_scope.cancel()
    assert ends.room.idle_workers == 0


async def test_a_flood_of_frames_lets_others_come_first() -> None:
    """Nothing here depends on time: the stranger has more work in one chunk than a turn."""
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery, turn_ms=0.5)
        crowd = [await ends.meet() for _ in range(5)]
        served: list[int] = []
        for number, (_, peer) in enumerate(crowd):

            async def listen(peer: Peer = peer, number: int = number) -> None:
                for _ in range(1000):
                    while (await peer.hear()).kind != FrameKind.RESPONSE:
                        pass
                    served.append(number)

            nursery.start_soon(listen)
        for _, peer in crowd:
            await peer.say(b"".join(request(number, b"echo") for number in range(1, 1001)))
        with trio.fail_after(10):
            while len(served) < 5000:
                await trio.sleep(0.001)
        first_done = min(len(served) - 1 - served[::-1].index(number) for number in range(5))
        assert first_done > 3500, "nobody is served whole while the others wait"
        assert ends.refused["slowed"] >= 1
        nursery.cancel_scope.cancel()


async def test_credit_of_nothing_and_answers_to_nothing_do_no_harm() -> None:
    async with trio.open_nursery() as nursery:
        ends = Ends(nursery)
        channel, peer = await ends.meet()
        nothing = encode_frame(FrameKind.WINDOW, 0, pack(">I", 0)) * 5000
        await peer.say(nothing + encode_frame(FrameKind.RESPONSE, 77, b"unasked") + encode_frame(FrameKind.CANCEL, 99))
        await peer.say(request(1, b"echo", 2))
        assert (await peer.hear()).request_id == 1
        await peer.say(encode_frame(FrameKind.WINDOW, 0, pack(">I", 2**32 - 1)))
        await wait_all_tasks_blocked()
        assert channel.end is not None
        assert "more credit than was used" in channel.end.reason
        nursery.cancel_scope.cancel()
