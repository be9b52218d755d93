"""A typed program of a user, for the type checker as much as for the test that runs it; it needs a running node."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, assert_type

import trio

import swarmharness
from swarmharness import Credit, Peer, Result, ResultStream, Swarm, SyncSwarm


async def words() -> AsyncIterator[str]:
    for word in ("hen", "rooster"):
        yield word


async def ask(swarm: Swarm) -> list[Result]:
    stream = swarm.stream("text-embedding", words(), window=1)
    assert_type(stream, ResultStream)
    async with stream:
        return [result async for result in stream]


async def main(data_dir: str) -> None:
    async with swarmharness.connect(data_dir=data_dir) as swarm:
        assert_type(swarm, Swarm)
        assert_type(await swarm.submit("text-embedding", "egg", verify="none"), Result)
        results = await ask(swarm)
        assert_type(results[0].output, Any)
        assert_type(results[0].error, swarmharness.SwarmError | None)
        print(len(results), all(result.ok for result in results))


def without_trio(data_dir: str) -> None:
    with swarmharness.connect_sync(data_dir=data_dir) as swarm:
        assert_type(swarm, SyncSwarm)
        assert_type(swarm.map("text-embedding", ["egg"]), list[Result])
        assert_type(swarm.peers(), list[Peer])
        assert_type(swarm.credit(), Credit)
        try:
            swarm.map("text-embedding", ["egg", b""])
        except swarmharness.PartialResultError as partial:
            print(partial)
            assert_type(list(partial.results), list[Result])
        swarm.submit("text-embedding", "egg", verify="sometimes") if len(sys.argv) > 2 else None  # type: ignore[arg-type]


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
    without_trio(sys.argv[1])
