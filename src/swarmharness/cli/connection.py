"""Connects a command to a node: the one that runs on the data directory, or a short-lived one of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from swarmharness.cli.failures import leaf
from swarmharness.errors import UnavailableError
from swarmharness.node.control import Control, open_control
from swarmharness.node.data_dir import DataDir

CALL_TIMEOUT_S = 30.0
JOIN_TIMEOUT_S = 30.0

T = TypeVar("T")


def run_async(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end; what it raises comes out bare, without the groups of its nurseries."""

    async def run() -> T:
        return await function()

    try:
        return trio.run(run)
    except BaseExceptionGroup as group:
        raise leaf(group) from None


def call_node(data_dir: Path | None, method: str, params: dict[str, Any], timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """Return the running node's answer to one call; raises UnavailableError if no node runs there, or its error."""

    async def ask() -> Any:
        async with open_control(DataDir.at(data_dir)) as control:
            return await control.call(method, params, timeout_s)

    return run_async(ask)


@asynccontextmanager
async def open_session(data_dir: Path | None, config: Path | None, join: tuple[str, ...]) -> AsyncIterator[Control]:
    """Yield the running node, told to join what `join` names; without one, a client that lives as long as the block.

    Raises UnavailableError if there is neither a node nor anything to join.
    """
    directory = DataDir.at(data_dir)
    async with AsyncExitStack() as stack:
        control: Control
        try:
            control = await stack.enter_async_context(open_control(directory))
        except UnavailableError as error:
            if not join:
                raise UnavailableError(f"{error}, or name a swarm with --join") from None
            control = await stack.enter_async_context(_client(data_dir, config, join))
        else:
            for target in join:
                await control.call("registry.join", {"target": target}, JOIN_TIMEOUT_S)
        yield control


@asynccontextmanager
async def _client(data_dir: Path | None, config: Path | None, join: tuple[str, ...]) -> AsyncIterator[Control]:
    from swarmharness.cli.settings import read_settings
    from swarmharness.node.client import client_node

    directory, settings = read_settings(data_dir, config)
    async with client_node(directory, settings, join) as control:
        yield control
