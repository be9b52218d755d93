"""Connects a command or a program to a node: the one that runs on a data directory, or a short-lived client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from swarmharness.errors import UnavailableError
from swarmharness.node.chosen_config import read_settings
from swarmharness.node.control import Control, open_control
from swarmharness.node.data_dir import DataDir

JOIN_TIMEOUT_S = 30.0


@asynccontextmanager
async def open_session(
    data_dir: Path | None, config: Path | None, join: tuple[str, ...], *, join_option: str = "--join"
) -> AsyncIterator[Control]:
    """Yield the running node, told to join what `join` names; without one, a client that lives as long as the block.

    Raises UnavailableError if there is neither a node nor anything to join; `join_option` is how its reader can do so.
    """
    directory = DataDir.at(data_dir)
    async with AsyncExitStack() as stack:
        control: Control
        try:
            control = await stack.enter_async_context(open_control(directory))
        except UnavailableError as error:
            if not join:
                raise UnavailableError(f"{error}, or name a swarm with {join_option}") from None
            control = await stack.enter_async_context(_client(data_dir, config, join))
        else:
            for target in join:
                await control.call("registry.join", {"target": target}, JOIN_TIMEOUT_S)
        yield control


@asynccontextmanager
async def _client(data_dir: Path | None, config: Path | None, join: tuple[str, ...]) -> AsyncIterator[Control]:
    from swarmharness.node.client import client_node  # with libp2p, which a running node spares its callers

    directory, settings = read_settings(data_dir, config)
    async with client_node(directory, settings, join) as control:
        yield control
