"""Carries the owner's verdict to what serves others and to the advert; it judges nothing."""

from __future__ import annotations

from swarmharness.jobs.worker import TaskServer
from swarmharness.owner.ports import Reason
from swarmharness.registry.advert import NOT_SERVING
from swarmharness.registry.service import RegistryService


class OwnerGate:
    """See `owner.ports.Gate`. Others learn the word alone: numbers are the owner's."""

    def __init__(self, tasks: TaskServer, registry: RegistryService) -> None:
        self._tasks = tasks
        self._registry = registry

    def close(self, reason: Reason) -> None:
        """See `Gate`."""
        self._tasks.close(NOT_SERVING[reason.code])
        self._registry.skills_changed()

    def hand_back(self) -> None:
        """See `Gate`."""
        self._tasks.hand_back()

    def open(self) -> None:
        """See `Gate`."""
        self._tasks.open()
        self._registry.skills_changed()
