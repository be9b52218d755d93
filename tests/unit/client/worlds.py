"""A swarm of two real nodes on in-memory ports, and the API on the one that serves nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import trio

from swarmharness.client.swarm import Swarm
from swarmharness.execution.memory import MemorySkill
from swarmharness.execution.ports import ItemOutput, SkillInfo
from swarmharness.execution.records import encode_record
from swarmharness.node.api import InviteTerms, NodeApi
from swarmharness.node.control import Control
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm


class FileTypeSkill(MemorySkill):
    """Takes bytes for files; each has the type that its first four letters say."""

    @property
    def info(self) -> SkillInfo:
        return replace(super().info, kind="file-type")


def tell(item: bytes) -> ItemOutput:
    if item.startswith(b"bad"):
        return ItemOutput(b"", "a bad file")
    if item.startswith(b"lie"):
        return ItemOutput(b"no MessagePack of four")
    return ItemOutput(encode_record([item.decode(), 0.5, "text/plain", "text"]))


SKILL = "tell"


@dataclass(frozen=True, slots=True)
class World:
    """What a test has."""

    swarm: Swarm
    control: Control
    client: MemoryNode
    worker: MemoryNode

    async def jobs_open(self) -> int:
        status: dict[str, Any] = await self.control.call("node.status", {})
        return int(status["jobs_open"])

    async def until_no_job_is_open(self) -> None:
        with trio.fail_after(60):
            while await self.jobs_open():
                await trio.sleep(0.05)


@asynccontextmanager
async def world(function: Callable[[bytes], ItemOutput] = tell) -> AsyncIterator[World]:
    skill = FileTypeSkill(SKILL, function)
    async with memory_swarm(2, skills=(skill,), serving=1) as (client, worker), trio.open_nursery() as nursery:
        api = NodeApi(client.parts, InviteTerms(None, 0), stop=lambda: None)
        await nursery.start(api.run)
        async with trio.open_nursery() as inner:
            yield World(Swarm(api, inner), api, client, worker)
            inner.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
