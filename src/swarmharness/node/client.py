"""A node that lives as long as one command: it asks the swarm, serves nobody and does not listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from swarmharness.errors import SwarmError
from swarmharness.node.api import NodeApi
from swarmharness.node.config import Config
from swarmharness.node.data_dir import DataDir
from swarmharness.node.node import open_node


@asynccontextmanager
async def client_node(directory: DataDir, config: Config, join: Sequence[str]) -> AsyncIterator[NodeApi]:
    """Yield the API of a client that has joined; raises the last error if not one of the targets could be reached."""
    targets = [*config.network.bootstrap, *join]
    async with open_node(directory, config, listen=(), join=targets, skills=(), stop=_nobody_asks) as node:
        failure: SwarmError | None = None
        for target in targets:
            try:
                await node.parts.registry.join(target)
                failure = None
                break
            except SwarmError as error:
                failure = error
        if failure is not None:
            raise failure
        yield node.api


def _nobody_asks() -> None:
    """A client ends with its command; no other command can tell it to stop, since it has no socket."""
