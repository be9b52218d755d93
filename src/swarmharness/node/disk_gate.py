"""Stops serving others while this node cannot keep receipts, and begins again when it can; it stores nothing itself.

Who cannot settle works in vain, and its requesters would learn it from errors. The store tells when a write failed;
from then on a trial is written now and then.
"""

from __future__ import annotations

import logging
from contextlib import suppress

import trio

from swarmharness.credit.store import ReceiptStore
from swarmharness.errors import SwarmError
from swarmharness.jobs.worker import TaskServer
from swarmharness.registry.advert import NOT_SERVING
from swarmharness.registry.service import RegistryService

DISK = "disk"
"""See `registry.advert.NOT_SERVING`."""
TRIED_EVERY_S = 5.0

_log = logging.getLogger(__name__)


class DiskGate:
    """`await nursery.start(gate.run)`."""

    def __init__(self, store: ReceiptStore, tasks: TaskServer, registry: RegistryService) -> None:
        self._store, self._tasks, self._registry = store, tasks, registry
        self._changed = trio.Event()
        store.health.changed = self._wake

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the store until cancelled."""
        task_status.started()
        health = self._store.health
        while True:
            if not health.problem:
                await self._changed.wait()
            self._changed = trio.Event()
            if health.problem:
                await self._closed()

    async def _closed(self) -> None:
        health = self._store.health
        _log.error("this node serves nobody until its disk takes receipts: %s", health.problem)
        self._tasks.close(NOT_SERVING[DISK], by=DISK)
        self._registry.skills_changed()
        while health.problem:
            with trio.move_on_after(TRIED_EVERY_S):
                await self._changed.wait()
            self._changed = trio.Event()
            with suppress(SwarmError):
                await self._store.try_write()
        _log.warning("the disk takes receipts again: this node serves others")
        self._tasks.open(by=DISK)
        self._registry.skills_changed()

    def _wake(self) -> None:
        self._changed.set()
