"""Connects a trio program to a swarm, by the node that runs here or by a short-lived one; it starts no daemon."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from swarmharness.client.swarm import Swarm
from swarmharness.errors import ConfigurationError, leaf
from swarmharness.node import config_values
from swarmharness.node.session import open_session


@asynccontextmanager
async def connect(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    join: str | Sequence[str] = (),
    config: str | os.PathLike[str] | None = None,
) -> AsyncIterator[Swarm]:
    """`async with swarmharness.connect() as swarm:` reaches the swarm through the node that runs on `data_dir`.

    `data_dir` is None for the default one, `$SWARMHARNESS_DATA_DIR` included. `join` takes invites or addresses: the
    running node joins them too; where no node runs, this process becomes a client of that swarm for as long as the
    block lasts, configured by `config` (None: `node.toml` in `data_dir`, if it is there).

    Leaving the block cancels the jobs that are still open. What the block raises leaves it as it is, in no group.
    Raises UnavailableError if there is neither a node nor anything to join.
    """
    if not trio.lowlevel.in_trio_run():
        raise ConfigurationError(
            "swarmharness.connect needs trio (trio.run); elsewhere, as in a script, a notebook or an asyncio program, "
            "use swarmharness.connect_sync"
        )
    targets = _targets(join)
    raised: BaseException | None = None
    try:
        async with (
            open_session(_path(data_dir), _path(config), targets, join_option="join=[…]") as control,
            trio.open_nursery() as nursery,
        ):
            swarm = Swarm(control, nursery)
            try:
                yield swarm
            except BaseException as error:
                raised = error
                raise
            finally:
                swarm.close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if raised is not None and not isinstance(raised, trio.Cancelled):
            raise raised from raised.__cause__
        raise leaf(group) from None


def _targets(join: str | Sequence[str]) -> tuple[str, ...]:
    targets = (join,) if isinstance(join, str) else tuple(join)
    for target in targets:
        if problem := config_values.complain_about_join(target):
            raise ConfigurationError(f"join={target!r} {problem}")
    return targets


def _path(given: str | os.PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)
