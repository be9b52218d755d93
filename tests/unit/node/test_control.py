"""What a control call may cost before it is refused, in both directions, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
import trio
from trio.testing import memory_stream_pair

from swarmharness.errors import ProtocolError, SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.channel import Channel
from swarmharness.network.handlers import Handlers
from swarmharness.network.ports import Request
from swarmharness.network.settings import ChannelSettings
from swarmharness.node.control import PLAIN_BYTES_MAX, REQUEST_ELEMENTS_MAX, RemoteControl, serve_control
from swarmharness.protocol.elements import DEPTH_MAX

MIB = 2**20
LARGE = ChannelSettings(
    heartbeat_s=0, own_user=True, inline_bytes_max=64 * MIB, window_bytes=192 * MIB, queue_bytes_max=192 * MIB
)


class Echo:
    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        return {"method": method, **params}


@asynccontextmanager
async def node(tmp_path: Path) -> AsyncIterator[Channel]:
    """A channel to the control socket of something that answers with what it was asked."""
    path = tmp_path / "control"
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_control, path, Echo())
        channel = Channel(await trio.open_unix_socket(str(path)), PeerId(""), Handlers(), LARGE)
        await channel.handshake()
        nursery.start_soon(channel.run)
        yield channel
        nursery.cancel_scope.cancel()


async def test_values_of_all_kinds_go_there_and_back(tmp_path: Path) -> None:
    params = {"text": "ä", "path": "a\udcff", "numbers": [1, -5, 2.5, 2**63], "none": None, "deep": [[[{"k": b"v"}]]]}
    async with node(tmp_path) as channel:
        assert await RemoteControl(channel).call("any.thing", params) == {"method": "any.thing", **params}


def call(method: str, params: bytes) -> bytes:
    return b"\x92" + bytes(msgpack.packb(method)) + params


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (call("node.status", b"\x81\xa1x\xdd\x00\x40\x00\x00" + b"\x90" * 2**22), f"{REQUEST_ELEMENTS_MAX} elements"),
        (call("node.status", b"\x81\xa1x" + b"\x91" * 200 + b"\x90"), f"nested more than {DEPTH_MAX} deep"),
        (call("node.status", b"\x81\xa1x" + b"\x91" * 5000 + b"\x90"), "control call"),
        (call("node.status", b"\x81\xa1x" + b"\xdd\x00\x01\x00\x00" * 1000), "cut short|array|control call"),
        (call("job.feed", b"\xdf\x00\x10\x00\x00" + b"\x01\x01" * MIB), f"{REQUEST_ELEMENTS_MAX} elements"),
        (call("node.status", msgpack.packb({"x": bytes(PLAIN_BYTES_MAX)})), r"node\.status has 16777\d\d\d bytes"),
        (call("node.status", b"\x81\xa1x\xd4\x05\x00"), "of a type that is not used here"),
        (call("node.status", b"\x81\xa1x\xdb\xff\xff\xff\xffabc"), "control call"),
        (call("node.status", b"\x90"), "control call"),
        (b"\x93\xa1x\x80\x80", "control call"),
        (b"", "control call"),
    ],
    ids=[
        "arrays",
        "nested",
        "nested deeply",
        "lying arrays",
        "keys",
        "bytes",
        "extension",
        "lying text",
        "no map",
        "three",
        "nothing",
    ],
)
async def test_a_call_that_would_blow_up_is_refused_and_its_caller_is_told_why(
    tmp_path: Path, payload: bytes, reason: str
) -> None:
    async with node(tmp_path) as channel:
        with pytest.raises(SwarmError, match=reason):
            await channel.call("control", payload, timeout_s=60)
        assert await RemoteControl(channel).call("still.there", {}) == {"method": "still.there"}


async def test_items_may_be_large(tmp_path: Path) -> None:
    async with node(tmp_path) as channel:
        payload = call("job.feed", msgpack.packb({"items": [bytes(PLAIN_BYTES_MAX), bytes(MIB)]}))
        with pytest.raises(
            ProtocolError, match=r"the answer to job\.feed has"
        ):  # the echo's, which has no reason to be
            await RemoteControl(channel).call("job.feed", {"items": [bytes(PLAIN_BYTES_MAX), bytes(MIB)]})
        assert len(await channel.call("control", payload, timeout_s=60)) > PLAIN_BYTES_MAX


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"\xdd\x00\x80\x00\x00" + b"\x90" * 2**23, "elements"),
        (b"\x91" * 1000 + b"\x90", "nested"),
        (msgpack.packb(bytes(PLAIN_BYTES_MAX)), "the answer to node.status has"),
    ],
    ids=["arrays", "nested", "bytes"],
)
async def test_an_answer_that_would_blow_up_is_refused(answer: bytes, reason: str) -> None:
    async with answering(lambda request: answer) as control:
        with pytest.raises(ProtocolError, match=reason):
            await control.call("node.status", {})


@asynccontextmanager
async def answering(answer: Callable[[Request], bytes]) -> AsyncIterator[RemoteControl]:
    """A node of another make."""

    async def handler(request: Request) -> bytes:
        return answer(request)

    here, there = memory_stream_pair()
    asking = Channel(here, PeerId(""), Handlers(), LARGE)
    other = Channel(there, PeerId(""), Handlers({"control": handler}), LARGE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking.handshake)
        nursery.start_soon(other.handshake)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(asking.run)
        nursery.start_soon(other.run)
        yield RemoteControl(asking)
        nursery.cancel_scope.cancel()
