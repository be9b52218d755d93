"""D5 in small: strangers that announce large payloads share a small part of the node's memory, and are told so."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from struct import pack

import pytest
import trio

from tests.hostile.raw_channel import BULK_REQUEST, ERROR, RawChannel
from tests.hostile.raw_peer import RawPeer, address_of
from tests.hostile.test_crowds import node_with, status_of

pytestmark = [pytest.mark.processes]
ANNOUNCED_BYTES = 40 * 2**20


async def test_four_strangers_that_announce_and_stall_hold_little_and_are_told_what_to_do(tmp_path: Path) -> None:
    refused: list[str] = []
    with node_with(tmp_path) as node, trio.fail_after(30):
        async with AsyncExitStack() as stack, trio.open_nursery() as nursery:

            async def announce(channel: RawChannel) -> None:
                request = await channel.request("task.run", pack(">Q", ANNOUNCED_BYTES), kind=BULK_REQUEST)
                kind, body = await channel.answer_to(request)
                assert kind == ERROR
                refused.append(body[1:].decode())
                if len([text for text in refused if "too many large payloads" in text]) == 3:
                    nursery.cancel_scope.cancel()

            for _ in range(4):
                peer = await stack.enter_async_context(await RawPeer.meet(address_of(node.addresses)))
                nursery.start_soon(announce, await RawChannel.open(peer))
        assert (await status_of(node))["refused_messages"]["bulk memory"] == 3
    assert any("limits.strangers_payload_mib" in text for text in refused)
