"""What a running node answers to its owner about serving others: pause, resume, status; it decides nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from swarmharness.errors import InputError, UnavailableError
from swarmharness.node.call_params import param
from swarmharness.node.parts import NodeParts
from swarmharness.owner.durations import DURATION_S_MAX
from swarmharness.owner.service import OwnerService


class OwnerApi:
    """The control methods `node.pause` and `node.resume`, and the owner's part of `node.status`."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self.methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "node.pause": self._pause,
            "node.resume": self._resume,
        }

    async def status(self) -> dict[str, Any]:
        """Return whether this node serves others, why not, and what the sensors show."""
        owner = self._parts.owner
        return {"serves_others": True, "reasons": [], "told_to_others": ""} if owner is None else await owner.status()

    async def _pause(self, params: Mapping[str, Any]) -> dict[str, Any]:
        for_s = None if params.get("for_s") is None else param(params, "for_s", int)
        if for_s is not None and not 0 < for_s <= DURATION_S_MAX:
            raise InputError(f"a pause lasts 1 s to {DURATION_S_MAX} s, not {for_s} s")
        owner = self._owner()
        warning = await owner.pause(for_s)
        return {
            **await owner.status(),
            "warning": warning,
            "drain_s": owner.drain_s,
            "tasks_running": self._parts.tasks.active,
        }

    async def _resume(self, _: Mapping[str, Any]) -> dict[str, Any]:
        owner = self._owner()
        warning = await owner.resume()
        return {**await owner.status(), "warning": warning}

    def _owner(self) -> OwnerService:
        if self._parts.owner is None:
            raise UnavailableError("this node serves nobody, so there is nothing to pause")
        return self._parts.owner
