"""Runs skills that are plain functions, in this process and in trio's time; for simulation and unit tests only."""

from __future__ import annotations

import hashlib
from bisect import insort_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from swarmharness.errors import DeadlineError, RefusedError, UnavailableError
from swarmharness.execution.parameters import parameter_names
from swarmharness.execution.ports import Execution, ItemOutput, Priority, SkillInfo

QUEUE_ITEMS_MAX = 4096


@dataclass(frozen=True, slots=True)
class MemorySkill:
    """A skill as a function of one item, which takes `service_us` of trio's time."""

    name: str
    function: Callable[[bytes], ItemOutput]
    service_us: int = 1000
    work_microcredits: int = 1000
    model: str = ""
    """What its digest is made of; by itself its name."""
    kind: str = "memory"

    def answer(self, item: bytes, parameters: bytes) -> ItemOutput:
        """Return the output for an item; who derives from this may heed the parameters."""
        return self.function(item)

    @property
    def info(self) -> SkillInfo:
        """See `Executor.skills`."""
        return SkillInfo(
            name=self.name,
            version="1",
            kind=self.kind,
            model_digest=hashlib.sha256((self.model or self.name).encode()).digest(),
            comparison_class="exact",
            batch_invariant=True,
            batch_items_max=64,
            work_microcredits=self.work_microcredits,
            service_us=self.service_us,
            provider="memory",
            parameters=parameter_names(self.kind),
        )


class PrioritySlots:
    """So many may run at once; whoever waits with the smallest priority is next, and of equal ones the first."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: list[tuple[Priority, trio.Event]] = []

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Wait for a slot unless one is free, and hold it as long as the block lasts."""
        if self._free:
            self._free -= 1
        else:
            waiting = (priority, trio.Event())
            insort_right(self._waiting, waiting, key=lambda one: one[0])
            try:
                await waiting[1].wait()
            except BaseException:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)
                else:
                    self._pass_on()  # its turn had come already
                raise
        try:
            yield
        finally:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.pop(0)[1].set()
        else:
            self._free += 1


class MemoryExecutor:
    """One slot: the waiting task with the smallest priority is next, and of equal ones the first that came."""

    def __init__(self, skills: tuple[MemorySkill, ...]) -> None:
        self._skills = {skill.name: skill for skill in skills}
        self._queued = dict.fromkeys(self._skills, 0)
        self._slots = PrioritySlots(1)

    def skills(self) -> tuple[SkillInfo, ...]:
        """See `Executor`."""
        return tuple(skill.info for skill in self._skills.values())

    async def run(
        self,
        skill: str,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        priority: Priority = (),
        parameters: bytes = b"",
    ) -> Execution:
        """See `Executor`."""
        found = self._skills.get(skill)
        if found is None:
            raise UnavailableError(f"no skill {skill!r} here").for_peers()
        if self._queued[skill] and self._queued[skill] + len(items) > QUEUE_ITEMS_MAX:
            raise RefusedError(f"{self._queued[skill]} items of {skill!r} wait already")
        self._queued[skill] += len(items)
        service_us = found.service_us * len(items)
        try:
            with trio.move_on_after(timeout_s):
                async with self._slots.turn(priority):
                    await trio.sleep(service_us / 1e6)
                    return Execution(tuple(found.answer(item, parameters) for item in items), service_us)
            raise DeadlineError(f"{skill!r} was not done within {timeout_s:g} s")
        finally:
            self._queued[skill] -= len(items)

    def unoffered(self) -> dict[str, str]:
        """See `Executor`: functions can always be run."""
        return {}

    def queued_items(self, skill: str) -> int:
        """See `Executor`."""
        return self._queued.get(skill, 0)
