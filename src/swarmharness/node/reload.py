"""Watches the configuration file for new routing weights, owner's limits and access lists; all else needs a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import trio

from swarmharness.errors import SwarmError
from swarmharness.node.config import Config, load_config
from swarmharness.node.config_changes import changes

POLL_S = 1.0

_log = logging.getLogger(__name__)


async def watch_config(path: Path, config: Config, apply: Callable[[Config], None]) -> None:
    """Call `apply` with what the file says whenever that changes, until cancelled; a mistake in it changes nothing.

    `config` is what is in force at the start; the file may have changed since that was read.
    """
    seen: tuple[int, int] | str | None = "not looked at yet"
    while True:
        await trio.sleep(POLL_S)
        current = _version(path)
        if current == seen:
            continue
        seen = current
        try:
            changed = load_config(path) if current else Config()
        except SwarmError as error:
            _log.warning("the configuration stays as it was: %s", error)
            continue
        if changed == config:
            continue
        for change in changes(config, changed):
            when = "" if change.live else f"; it takes effect at the next start, until then it is {change.before!r}"
            _log.warning("configuration changed: %s = %r%s", change.name, change.after, when)
        apply(changed)
        config = changed


def _version(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
