"""Watches the configuration file and puts changed routing weights into force; other changes wait for a restart."""

from __future__ import annotations

import logging
from pathlib import Path

import trio

from swarmharness.errors import SwarmError
from swarmharness.node.config import Config, load_config
from swarmharness.routing.router import Router

POLL_S = 1.0

_log = logging.getLogger(__name__)


async def watch_policy(path: Path, router: Router) -> None:
    """Reload `[routing]` whenever the file changes, until cancelled; a file with a mistake changes nothing."""
    seen = _version(path)
    while True:
        await trio.sleep(POLL_S)
        current = _version(path)
        if current != seen:
            seen = current
            try:
                config = load_config(path) if current else Config()
            except SwarmError as error:
                _log.warning("the routing policy stays as it was: %s", error)
            else:
                _put_into_force(config, router)


def _put_into_force(config: Config, router: Router) -> None:
    before, after = router.policy.as_mapping(), config.routing.as_mapping()
    changed = [f"{name} = {after[name]}" for name in after if before[name] != after[name]]
    if changed:
        router.set_policy(config.routing)
        _log.warning("routing policy changed: %s", ", ".join(changed))


def _version(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
