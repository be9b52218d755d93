"""Runs skills that are plain functions, in this process and in trio's time; for simulation and unit tests only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import trio

from swarmharness.errors import DeadlineError, RefusedError, UnavailableError
from swarmharness.execution.ports import Execution, ItemOutput, SkillInfo

QUEUE_ITEMS_MAX = 4096


@dataclass(frozen=True, slots=True)
class MemorySkill:
    """A skill as a function of one item, which takes `service_us` of trio's time."""

    name: str
    function: Callable[[bytes], ItemOutput]
    service_us: int = 1000
    work_microcredits: int = 1000

    @property
    def info(self) -> SkillInfo:
        """See `Executor.skills`."""
        return SkillInfo(
            name=self.name,
            version="1",
            task="memory",
            model_digest=hashlib.sha256(self.name.encode()).digest(),
            comparison_class="exact",
            batch_invariant=True,
            batch_items_max=64,
            work_microcredits=self.work_microcredits,
            service_us=self.service_us,
            provider="memory",
        )


class MemoryExecutor:
    """One slot: tasks are run in the order of their arrival."""

    def __init__(self, skills: tuple[MemorySkill, ...]) -> None:
        self._skills = {skill.name: skill for skill in skills}
        self._queued = dict.fromkeys(self._skills, 0)
        self._slot = trio.StrictFIFOLock()

    def skills(self) -> tuple[SkillInfo, ...]:
        """See `Executor`."""
        return tuple(skill.info for skill in self._skills.values())

    async def run(self, skill: str, items: tuple[bytes, ...], *, timeout_s: float) -> Execution:
        """See `Executor`."""
        found = self._skills.get(skill)
        if found is None:
            raise UnavailableError(f"no skill {skill!r} here")
        if self._queued[skill] and self._queued[skill] + len(items) > QUEUE_ITEMS_MAX:
            raise RefusedError(f"{self._queued[skill]} items of {skill!r} wait already")
        self._queued[skill] += len(items)
        service_us = found.service_us * len(items)
        try:
            with trio.move_on_after(timeout_s):
                async with self._slot:
                    await trio.sleep(service_us / 1e6)
                    return Execution(tuple(found.function(item) for item in items), service_us)
            raise DeadlineError(f"{skill!r} was not done within {timeout_s:g} s")
        finally:
            self._queued[skill] -= len(items)

    def queued_items(self, skill: str) -> int:
        """See `Executor`."""
        return self._queued.get(skill, 0)
