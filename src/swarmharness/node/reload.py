"""Watches the configuration file for new routing weights, owner's limits and access lists; all else needs a restart."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import trio

from swarmharness.errors import SwarmError
from swarmharness.node.config import Config, load_config

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
        for line in _differences(config, changed):
            _log.warning("configuration changed: %s", line)
        apply(changed)
        config = changed


def _differences(before: Config, after: Config) -> list[str]:
    """Name the keys that take effect now; the others wait for a restart."""
    old, new = before.routing.as_mapping(), after.routing.as_mapping()
    lines = [f"routing.{name} = {new[name]}" for name in new if old[name] != new[name]]
    was, now = asdict(before.owner), asdict(after.owner)
    lines += [f"owner.{name} = {now[name]}" for name in now if was[name] != now[name]]
    was, now = asdict(before.trace), asdict(after.trace)
    lines += [f"trace.{name} = {now[name]}" for name in now if was[name] != now[name]]
    for name in ("allow", "deny"):
        if getattr(before.network, name) != getattr(after.network, name):
            lines.append(f"network.{name} = {list(getattr(after.network, name))}")
    return lines


def _version(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file does; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
