"""A node that lives as long as one command: it asks the swarm, serves nobody and does not listen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from swarmharness.errors import UnavailableError
from swarmharness.node.api import NodeApi
from swarmharness.node.config import Config
from swarmharness.node.data_dir import DataDir
from swarmharness.node.node import open_node


@asynccontextmanager
async def client_node(directory: DataDir, config: Config, join: Sequence[str]) -> AsyncIterator[NodeApi]:
    """Yield the API of a client that has joined; raises why if not one of the targets could be reached."""
    targets = [*config.network.bootstrap, *join]
    async with open_node(directory, config, listen=(), join=targets, skills=(), stop=_nobody_asks) as node:
        outcomes = await node.parts.join(targets)
        if all(error is not None for error in outcomes.values()):
            raise next((error for error in outcomes.values() if error), UnavailableError("there is nobody to join"))
        yield node.api


def _nobody_asks() -> None:
    """A client ends with its command; no other command can tell it to stop, since it has no socket."""
