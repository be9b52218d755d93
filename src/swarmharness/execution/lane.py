"""Serves the calls for one skill with its one worker, a batch at a time; it knows no other skill."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import trio

from swarmharness.errors import DeadlineError, SwarmError, UnavailableError
from swarmharness.execution.batching import occupation_us
from swarmharness.execution.call_queue import CallQueue
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.parameters import parameter_names
from swarmharness.execution.ports import Execution, Priority, SkillInfo
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.execution.skill_worker import SkillWorker
from swarmharness.execution.worker_messages import to_outputs

STORE_LOOK_S = 0.5
_log = logging.getLogger(__name__)


class SkillLane:
    """One skill: a queue, and at most one worker."""

    def __init__(
        self, skill: InstalledSkill, store: ModelStore, settings: ExecutorSettings, threads: Callable[[], int]
    ) -> None:
        """`threads` returns how many threads a model may use now."""
        self.skill = skill
        self._manifest = skill.manifest
        self._store = store
        self._settings = settings
        self._queue = CallQueue(skill.manifest, items_max=settings.queue_items, bytes_max=settings.queue_bytes)
        self._worker = SkillWorker(skill, store, settings, threads)
        self._busy = trio.Lock()
        self._wake = trio.Event()
        self._leaving = False
        self._digest = skill.manifest.model_digest
        self._lacking, self._missing_bytes, self._look_again_s = "", 0, -math.inf

    @property
    def queued_items(self) -> int:
        """Items that wait or run."""
        return self._queue.queued_items

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, while there is one."""
        return self._worker.pid

    @property
    def runnable(self) -> bool:
        """Whether every file of the skill is in the store or may be fetched, and the model was not found unusable."""
        return not self.unusable

    @property
    def unusable(self) -> str:
        """Why the skill cannot be run, for this node's user; empty if it can."""
        if self._worker.unusable is not None or self._settings.fetch_models:
            return str(self._worker.unusable or "")
        self._look_at_store()
        return self._lacking

    @property
    def work_microcredits(self) -> int:
        """Measured work of an item; 0 while unmeasured."""
        return self._worker.work_microcredits

    def info(self) -> SkillInfo:
        """Return what the node's advert says of this skill."""
        manifest = self._manifest
        self._look_at_store()
        return SkillInfo(
            name=manifest.name,
            version=manifest.version,
            kind=manifest.kind.value,
            model_digest=self._digest,
            comparison_class=manifest.comparison_class,
            batch_invariant=manifest.batch_invariant,
            batch_items_max=manifest.batch_items,
            work_microcredits=manifest.work_microcredits,
            service_us=self._worker.service_us,
            provider=self._worker.provider,
            load_us=self._worker.load_us,
            missing_bytes=self._missing_bytes,
            parameters=parameter_names(manifest.kind),
        )

    def _look_at_store(self) -> None:
        """See what is missing; every task asks, so the store is looked at now and then only."""
        now_s, was_fetched = time.monotonic(), bool(self._missing_bytes and self._worker.provider)
        if self._look_again_s <= now_s or was_fetched:
            self._look_again_s = now_s + STORE_LOOK_S
            self._lacking = self._store.lacking(self._manifest)
            missing = self._store.missing(self._manifest) if self._lacking else ()
            self._missing_bytes = sum(file.size_bytes for file in missing)

    async def run(
        self, items: tuple[bytes, ...], *, timeout_s: float, priority: Priority = (), parameters: bytes = b""
    ) -> Execution:
        """See `ports.Executor.run`."""
        call = self._queue.join(items, priority, parameters)
        self._wake.set()
        try:
            with trio.move_on_after(timeout_s):
                await call.done.wait()
        finally:
            self._queue.leave(call)
        if call.error is not None:
            raise call.error
        if call.left:
            raise DeadlineError(f"{self._manifest.name} did not answer within {timeout_s:g} s")
        return Execution(tuple(call.outputs), call.service_us)

    async def serve(self) -> None:
        """Run what is queued, until told to leave."""
        try:
            while await self._work_or_idle():
                await self._take_lock()
                try:
                    await self._run_batch()
                finally:
                    self._busy.release()
        finally:
            await self._worker.end()

    async def load(self) -> SkillInfo:
        """Start the worker if there is none, and return what was measured; raises what `run` would."""
        try:
            async with self._busy:
                await self._worker.ready()
        finally:
            self._look_again_s = -math.inf  # files may have been fetched
            self._wake.set()  # how long to wait depends on whether there is a worker
        return self.info()

    def leave(self) -> None:
        """Stop serving once what is queued is answered; nothing may be asked of this lane any more."""
        self._leaving = True
        self._wake.set()

    def mended(self) -> None:
        """Hear that the model's files are others than when it was refused."""
        self._worker.mended()
        self._look_again_s = -math.inf

    async def adapt(self) -> None:
        """Have a worker that is loaded use as many threads as it may now, after the batch that runs."""
        async with self._busy:
            if self._worker.loaded:
                try:
                    await self._worker.ready()
                except SwarmError as error:
                    _log.warning("%s: %s", self._manifest.name, error)

    async def unload(self) -> None:
        """End the worker, after the batch that runs; the next call starts another."""
        async with self._busy:
            await self._worker.end()

    async def _take_lock(self) -> None:
        """Acquire the lock without a scheduling point when it is free: this is on the path of every small call."""
        try:
            self._busy.acquire_nowait()
        except trio.WouldBlock:
            await self._busy.acquire()

    async def _work_or_idle(self) -> bool:
        """Return True when something is queued, and False when it is time to leave.

        Meanwhile ends the worker if that takes long, and tries a model again that was lost.
        """
        while not self._queue:
            if self._leaving:
                return False
            self._wake = trio.Event()
            idle_s = self._settings.idle_unload_s if self._settings.idle_unload_s > 0 else math.inf
            with trio.move_on_after(idle_s if self._worker.loaded else self._worker.retry_s) as scope:
                await self._wake.wait()
            if not scope.cancelled_caught or self._queue:
                continue
            if self._worker.unusable is not None:
                await self._try_again()
            else:
                _log.info("%s: unloaded after %g s without work", self._manifest.name, idle_s)
                await self.unload()
        return True

    def _cannot_run(self, error: SwarmError) -> None:
        """Fail every call with an error that blames this node and not the items: another node may run them."""
        name = self._manifest.name
        self._queue.fail_all(
            UnavailableError(f"{name} cannot be run here: {error}").for_peers(f"{name} cannot be run here")
        )

    async def _try_again(self) -> None:
        try:
            await self.load()
        except SwarmError as error:
            _log.warning("%s", error)

    async def _run_batch(self) -> None:
        if self._worker.unusable is not None:
            self._cannot_run(self._worker.unusable)
            return
        try:
            process = await self._worker.ready()
        except SwarmError as error:
            self._cannot_run(error)
            return
        batch = self._queue.next_batch()
        if not batch.parts:  # everyone left while the worker was started
            return
        answer = await self._worker.run(process, batch)
        if isinstance(answer, SwarmError):
            self._queue.fail(batch, answer)
            return
        occupied_us = occupation_us(answer.service_us, cpu_share=self._settings.cpu_share)
        self._queue.answer(batch, to_outputs(answer.outputs), occupied_us)
        if occupied_us > answer.service_us:
            await trio.sleep((occupied_us - answer.service_us) / 1e6)
