"""Follows what a node may use of its machine (cores, memory, accelerators) and has models and advert follow suit."""

from __future__ import annotations

import logging

import trio

from swarmharness.allowance import usable_cores
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.node.device import describe_device
from swarmharness.node.parts import NodeParts

LOOK_S = 5.0
"""How often the machine is looked at; a look takes two milliseconds, in a thread."""

_log = logging.getLogger(__name__)


async def watch_machine(parts: NodeParts, executor: ProcessExecutor) -> None:
    """Look now and then, until cancelled: cgroups, cpusets and drivers change while a node runs."""
    device = parts.settings.device
    while True:
        await trio.sleep(LOOK_S)
        now = await trio.to_thread.run_sync(describe_device, abandon_on_cancel=True)
        cores = await trio.to_thread.run_sync(lambda: usable_cores(physical=True), abandon_on_cancel=True)
        if now != device:
            _log.info(
                "the machine is another one: this node may use %d cores and %d MiB%s",
                now.cores,
                now.memory_mib,
                f", and {', '.join(now.accelerators)}" if now.accelerators else "",
            )
            device = now
            parts.registry.device_changed(device)
        if await executor.use_cores(cores):
            parts.registry.skills_changed()  # their times were measured anew
