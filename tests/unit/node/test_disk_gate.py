"""A node that cannot keep receipts serves nobody else, says so in one word, and begins again by itself."""

from __future__ import annotations

import trio
import trio.testing

from swarmharness.errors import UnavailableError
from swarmharness.simulation.memory_swarm import MemoryNode, memory_swarm

SECRET = "/home/some/swarm.sqlite"


def has_room(node: MemoryNode, room: bool) -> None:
    """Have the node's store refuse every trial, as a full disk does, or take it again."""
    store = node.parts.ports.receipts
    full = UnavailableError(f"the disk of {SECRET} is full")

    async def try_write() -> None:
        if not room:
            raise full
        store.health.worked()

    store.try_write = try_write  # type: ignore[method-assign]
    if not room:
        store.health.failed(full)


async def asked(client: MemoryNode) -> str:
    """Return why an item gets no answer, or nothing."""
    try:
        (result,) = await client.map("echo", [b"a"])
    except UnavailableError as error:
        return str(error)
    return result.error


async def test_a_worker_that_cannot_settle_stops_offering_until_it_can(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with memory_swarm(2, serving=1) as (client, worker):
        assert await asked(client) == ""
        has_room(worker, False)
        await trio.sleep(1)
        said = await asked(client)
        assert "its disk takes no receipts" in said
        assert SECRET not in said
        (own,) = await worker.map("echo", [b"mine"])
        assert own.output == b"mine"
        has_room(worker, True)
        await trio.sleep(60)
        assert await asked(client) == ""
