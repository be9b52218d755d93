"""Runs what a command asks of a node; what goes wrong comes out as one exception, never as a group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from swarmharness.errors import leaf
from swarmharness.node.control import open_control
from swarmharness.node.data_dir import DataDir
from swarmharness.node.signals import run_until_told

CALL_TIMEOUT_S = 30.0

T = TypeVar("T")


def run_async(function: Callable[[], Awaitable[T]]) -> T:
    """Run an async function to its end; what it raises comes out bare, without the groups of its nurseries.

    A signal to end cancels it, so that a job is cancelled and a swarm hears a farewell; then TerminatedError is raised.
    """
    try:
        return run_until_told(function)
    except BaseExceptionGroup as group:
        raise leaf(group) from None


def call_node(data_dir: Path | None, method: str, params: dict[str, Any], timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """Return the running node's answer to one call; raises UnavailableError if no node runs there, or its error."""

    async def ask() -> Any:
        async with open_control(DataDir.at(data_dir)) as control:
            return await control.call(method, params, timeout_s)

    return run_async(ask)
