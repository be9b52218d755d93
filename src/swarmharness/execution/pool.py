"""Implements the Executor port with one worker process for each skill in use; it routes calls and holds no queue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio

from swarmharness.allowance import usable_cores
from swarmharness.errors import UnavailableError
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.lane import SkillLane
from swarmharness.execution.manifest_table import suggestion
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.ports import Execution, Priority, SkillInfo
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.execution.worker_messages import THREADS_MAX


class ProcessExecutor:
    """Runs skills in worker processes: `async with ProcessExecutor(skills, store) as executor`.

    Leaving the block kills the workers; calls under way end with the exception that ended the block.
    """

    def __init__(
        self, skills: Iterable[InstalledSkill], store: ModelStore, settings: ExecutorSettings | None = None
    ) -> None:
        self._store = store
        self._settings = settings or ExecutorSettings()
        self._cores = usable_cores(physical=True)
        self._lanes = {skill.manifest.name: self._new_lane(skill) for skill in skills}
        self.problems: Mapping[str, str] = {}
        """What is wrong with folders that should hold a skill, by name; told with the skills that are not offered."""
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery, bool | None] | None = None

    async def __aenter__(self) -> ProcessExecutor:
        manager = trio.open_nursery()
        self._nursery = nursery = await manager.__aenter__()
        self._scope = nursery.cancel_scope
        self._nursery_manager = manager
        for name, lane in self._lanes.items():
            nursery.start_soon(lane.serve, name=f"skill {name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._nursery_manager is not None
        self._scope.cancel()
        if error is not None and not isinstance(
            error, Exception
        ):  # trio's own cancellation is for the nursery to judge
            return await self._nursery_manager.__aexit__(kind, error, traceback)
        await self._nursery_manager.__aexit__(None, None, None)
        return False  # the block's own error goes on as it is, not as a group of one

    def skills(self) -> tuple[SkillInfo, ...]:
        """Return the skills whose files are all here and whose models answer; see `ports.Executor`."""
        return tuple(lane.info() for lane in self._lanes.values() if lane.runnable)

    def unoffered(self) -> dict[str, str]:
        """See `ports.Executor`."""
        told = ((name, lane.unusable) for name, lane in self._lanes.items())
        lanes = {name: reason.removeprefix(f"{name}: ") for name, reason in told if reason}
        return {**self.problems, **lanes}

    def offer(self, skills: Iterable[InstalledSkill]) -> tuple[str, ...]:
        """Serve these skills from now on, and no others; returns the names of those that are new or not as before.

        Calls that a skill has taken are answered by the model that it had then.
        """
        before, self._lanes, changed = self._lanes, {}, []
        for skill in sorted(skills, key=lambda skill: skill.manifest.name):
            name = skill.manifest.name
            lane = before.get(name)
            if lane is not None and lane.skill == skill:
                self._lanes[name] = before.pop(name)
                continue
            self._lanes[name] = lane = self._new_lane(skill)
            self._nursery.start_soon(lane.serve, name=f"skill {name}")
            changed.append(name)
        for lane in before.values():
            lane.leave()
        return tuple(changed)

    def mended(self, skill: str) -> None:
        """Hear that the files of a skill's model are others than before: what was refused may be good now."""
        self._lane(skill).mended()

    async def load(self, skill: str) -> SkillInfo:
        """Start the worker of a skill, so that the first call does not wait for it, and return what was measured.

        Takes about a second. Raises UnavailableError (unknown, or files missing), InputError (the model is refused),
        ModelFailureError, DeadlineError.
        """
        return await self._lane(skill).load()

    async def use_cores(self, cores: int) -> bool:
        """Have models compute on so many cores from now on; returns whether that is news, once those in use do."""
        if cores == self._cores:
            return False
        self._cores = cores
        for lane in tuple(self._lanes.values()):
            await lane.adapt()
        return True

    async def unload(self, skill: str) -> None:
        """End the worker of a skill, after the batch that runs; a later call starts it again."""
        await self._lane(skill).unload()

    async def run(
        self,
        skill: str,
        items: tuple[bytes, ...],
        *,
        timeout_s: float,
        priority: Priority = (),
        parameters: bytes = b"",
    ) -> Execution:
        """See `ports.Executor`."""
        return await self._lane(skill).run(items, timeout_s=timeout_s, priority=priority, parameters=parameters)

    def queued_items(self, skill: str) -> int:
        """See `ports.Executor`."""
        lane = self._lanes.get(skill)
        return lane.queued_items if lane is not None else 0

    def work_microcredits(self, skill: str) -> int:
        """Return the measured work of an item; 0 unless the settings ask for it and the skill was loaded."""
        return self._lane(skill).work_microcredits

    def worker_pids(self) -> dict[str, int]:
        """Return the process id of each worker by the name of its skill."""
        pids = {name: lane.worker_pid for name, lane in self._lanes.items()}
        return {name: pid for name, pid in pids.items() if pid is not None}

    def _threads(self) -> int:
        return min(self._settings.threads or self._cores, THREADS_MAX)

    def _new_lane(self, skill: InstalledSkill) -> SkillLane:
        return SkillLane(skill, self._store, self._settings, self._threads)

    def _lane(self, skill: str) -> SkillLane:
        lane = self._lanes.get(skill)
        if lane is None:
            known = ", ".join(sorted(self._lanes)) or "none"
            raise UnavailableError(
                f"this node has no skill {skill!r}{suggestion(skill, self._lanes)} (it has: {known})"
            )
        return lane
