"""Queues the calls for one skill and runs them on its one worker; it knows no other skill and no port."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import trio

from swarmharness.errors import (
    DeadlineError,
    InputError,
    ModelFailureError,
    RefusedError,
    SwarmError,
    UnavailableError,
)
from swarmharness.execution.batching import (
    Waiting,
    abandoned_limit_us,
    admits,
    fill,
    occupation_us,
    restart_delay_us,
    share_us,
)
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.model_check import check_models
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.ports import Execution, ItemOutput, SkillInfo
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.execution.worker_messages import (
    Done,
    Failed,
    Failure,
    FilePath,
    Load,
    Message,
    Ready,
    Run,
    to_outputs,
)
from swarmharness.execution.worker_process import Cause, Lost, WorkerProcess

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(eq=False, slots=True)
class Call:
    """One caller's items, from the queue to the answer."""

    items: tuple[bytes, ...]
    outputs: list[ItemOutput] = field(default_factory=list)
    service_us: int = 0
    alone: bool = False
    """It shared a batch with which a worker was lost, so it is run by itself now."""
    gone: bool = False
    """The caller waits no longer."""
    error: SwarmError | None = None
    done: trio.Event = field(default_factory=trio.Event)

    @property
    def left(self) -> int:
        """How many items have no output yet."""
        return len(self.items) - len(self.outputs)


class SkillLane:
    """One skill: a queue, and at most one worker."""

    def __init__(self, skill: InstalledSkill, store: ModelStore, settings: ExecutorSettings) -> None:
        self._skill = skill
        self._manifest = skill.manifest
        self._store = store
        self._settings = settings
        self._queue: deque[Call] = deque()
        self._wake = trio.Event()
        self._busy = trio.Lock()
        self._worker: WorkerProcess | None = None
        self._provider = ""
        self._service_us = 0
        self._failures = 0
        self._refused = False

    @property
    def queued_items(self) -> int:
        """Items that wait or run."""
        return sum(call.left for call in self._queue)

    @property
    def worker_pid(self) -> int | None:
        """The process id of the worker, while there is one."""
        return self._worker.pid if self._worker is not None and self._worker.alive else None

    @property
    def runnable(self) -> bool:
        """Whether every file of the skill is in the store, and the model was not found unusable."""
        return not self._refused and not self._store.missing(self._manifest)

    def info(self) -> SkillInfo:
        """Return what the node's advert says of this skill."""
        manifest = self._manifest
        return SkillInfo(
            name=manifest.name,
            version=manifest.version,
            task=manifest.task.value,
            model_digest=manifest.model_digest,
            comparison_class=manifest.comparison_class,
            batch_invariant=manifest.batch_invariant,
            batch_items_max=manifest.batch_items,
            work_microcredits=manifest.work_microcredits,
            service_us=self._service_us,
            provider=self._provider if self.worker_pid is not None else "",
        )

    async def run(self, items: tuple[bytes, ...], *, timeout_s: float) -> Execution:
        """See `ports.Executor.run`."""
        if not items:
            raise InputError(f"{self._manifest.name}: there are no items")
        if not admits(self.queued_items, len(items), queue_items=self._settings.queue_items):
            raise RefusedError(
                f"the queue of {self._manifest.name} is full ({self.queued_items} items); try again later"
            )
        call = Call(items)
        self._queue.append(call)
        self._wake.set()
        try:
            with trio.move_on_after(timeout_s):
                await call.done.wait()
        finally:
            self._leave(call)
        if call.error is not None:
            raise call.error
        if call.left:
            raise DeadlineError(f"{self._manifest.name} did not answer within {timeout_s:g} s")
        if all(output.error for output in call.outputs):
            more = f" (and {len(items) - 1} more)" if len(items) > 1 else ""
            raise InputError(f"{self._manifest.name}: {call.outputs[0].error}{more}")
        return Execution(tuple(call.outputs), call.service_us)

    async def serve(self) -> None:
        """Run what is queued, for ever."""
        try:
            while True:
                await self._work_or_idle()
                await self._take_lock()
                try:
                    if self._queue:
                        await self._run_batch()
                finally:
                    self._busy.release()
        finally:
            await self._drop_worker()

    async def load(self) -> SkillInfo:
        """Start the worker if there is none, and return what was measured; raises what `run` would."""
        async with self._busy:
            await self._ready_worker()
        return self.info()

    async def unload(self) -> None:
        """End the worker, after the batch that runs; the next call starts another."""
        async with self._busy:
            await self._drop_worker()

    async def _take_lock(self) -> None:
        """Acquire the lock without a scheduling point when it is free: this is on the path of every small call."""
        try:
            self._busy.acquire_nowait()
        except trio.WouldBlock:
            await self._busy.acquire()

    def _leave(self, call: Call) -> None:
        call.gone = True
        if call in self._queue:
            self._queue.remove(call)

    async def _work_or_idle(self) -> None:
        """Return when something is queued; end the worker if that takes long."""
        while not self._queue:
            self._wake = trio.Event()
            idle_s = self._settings.idle_unload_s
            with trio.move_on_after(idle_s if idle_s > 0 and self._worker is not None else float("inf")) as waited:
                await self._wake.wait()
            if waited.cancelled_caught and not self._queue:
                _log.info("%s: unloaded after %g s without work", self._manifest.name, idle_s)
                await self.unload()

    async def _run_batch(self) -> None:
        try:
            worker = await self._ready_worker()
        except SwarmError as error:
            for call in tuple(self._queue):
                self._finish(call, error)
            return
        waiting = [Waiting(call.left, call.alone) for call in self._queue]
        taken = fill(waiting, batch_items=self._manifest.batch_items, merge=self._manifest.batch_invariant)
        batch = list(zip(tuple(self._queue), taken, strict=False))
        if not batch:  # everyone left while the worker was started
            return
        items = [item for call, count in batch for item in call.items[len(call.outputs) : len(call.outputs) + count]]
        answer = await worker.exchange(Run(tuple(items)), self._overdue(batch))
        match answer:
            case Done(outputs, service_us) if len(outputs) == len(items):
                self._failures = 0
                occupied_us = occupation_us(service_us, cpu_share=self._settings.cpu_share)
                self._distribute(batch, to_outputs(outputs), occupied_us)
                await trio.sleep((occupied_us - service_us) / 1e6)
            case Failed(failure, reason):
                cause = Cause.MEMORY if failure is Failure.MEMORY else Cause.CRASHED
                await self._lose(batch, Lost(cause, reason))
            case Lost():
                await self._lose(batch, answer)
            case _:
                await self._lose(batch, Lost(Cause.CRASHED, "it sent an answer that does not fit"))

    def _distribute(self, batch: list[tuple[Call, int]], outputs: tuple[ItemOutput, ...], service_us: int) -> None:
        at = 0
        for call, count in batch:
            call.outputs.extend(outputs[at : at + count])
            call.service_us += share_us(service_us, len(outputs), count)
            at += count
            if not call.left:
                self._finish(call, None)

    async def _lose(self, batch: list[tuple[Call, int]], lost: Lost) -> None:
        """Blame the caller that ran alone; if several did, none is blamed yet: each is run once more, by itself."""
        self._failures += 1
        await self._drop_worker()
        waiting = [call for call, _ in batch if not call.gone]
        _log.warning(
            "%s: worker lost (%s: %s) with %d callers waiting",
            self._manifest.name,
            lost.cause.value,
            lost.reason,
            len(waiting),
        )
        for call in waiting:
            if len(batch) == 1:
                self._finish(call, self._error(lost))
            else:
                call.alone = True

    def _error(self, lost: Lost) -> SwarmError:
        name = self._manifest.name
        match lost.cause:
            case Cause.HUNG:
                return DeadlineError(f"{name}: the model was stopped: {lost.reason}")
            case Cause.MEMORY:
                limit_mib = self._memory_bytes() // 2**20
                return ModelFailureError(
                    f"{name}: the model exceeded its memory limit of {limit_mib} MiB ({lost.reason})"
                )
            case Cause.CRASHED:
                return ModelFailureError(f"{name}: the model's process crashed ({lost.reason})")

    def _finish(self, call: Call, error: SwarmError | None) -> None:
        call.error = error
        if call in self._queue:
            self._queue.remove(call)
        call.done.set()

    def _overdue(self, batch: list[tuple[Call, int]]) -> Callable[[], str]:
        started_s = trio.current_time()
        limit_s = float(self._manifest.timeout_s)
        abandoned_s = abandoned_limit_us(sum(count for _, count in batch), self._service_us) / 1e6

        def overdue() -> str:
            ran_s = trio.current_time() - started_s
            if ran_s > limit_s:
                return f"it ran for more than {limit_s:g} s (timeout_secs)"
            if ran_s > abandoned_s and all(call.gone for call, _ in batch):
                return f"it ran for {ran_s:.1f} s and nobody waits for it any more"
            return ""

        return overdue

    async def _ready_worker(self) -> WorkerProcess:
        if self._worker is not None:
            if self._worker.alive:
                return self._worker
            _log.warning("%s: its worker ended while idle", self._manifest.name)
            self._failures += 1
            await self._drop_worker()
        await trio.sleep(restart_delay_us(self._failures) / 1e6)
        try:
            self._worker = await self._start_worker()
        except InputError:
            self._refused = True
            raise
        self._refused = False
        return self._worker

    async def _start_worker(self) -> WorkerProcess:
        check = partial(check_models, self._manifest, self._store, size_bytes_max=self._settings.model_bytes_max)
        await trio.to_thread.run_sync(check, abandon_on_cancel=True)
        try:
            worker = WorkerProcess.start(niceness=self._settings.niceness)
        except OSError as error:
            raise UnavailableError(f"{self._manifest.name}: no worker could be started: {error.strerror}") from None
        worker.memory_bytes_max = self._memory_bytes()
        try:
            self._note(await worker.exchange(self._load_message(), _limit(self._settings.load_timeout_s)))
        except BaseException:
            self._failures += 1
            await worker.close()
            raise
        return worker

    def _note(self, answer: Message | Lost) -> None:
        """Take over what the new worker says of itself, or raise why it is of no use."""
        name = self._manifest.name
        match answer:
            case Ready(provider, service_us, warnings):
                self._provider = provider
                self._service_us = occupation_us(service_us, cpu_share=self._settings.cpu_share)
                for warning in warnings:
                    _log.warning("%s: %s", name, warning)
                _log.info("%s: ready on %s, %.1f ms an item", name, provider, service_us / 1000)
            case Failed(Failure.MEMORY, reason):
                raise self._error(Lost(Cause.MEMORY, f"while it was loaded: {reason}"))
            case Failed(_, reason):
                raise InputError(f"{name}: the model cannot be opened: {reason}")
            case Lost():
                raise self._error(Lost(answer.cause, f"while it was loaded: {answer.reason}"))
            case _:
                raise ModelFailureError(f"{name}: the worker sent an answer that does not fit")

    def _load_message(self) -> Load:
        files = [FilePath(file.name, str(self._store.path(file.sha256)), file.sha256) for file in self._manifest.files]
        return Load(
            manifest=self._skill.text,
            files=tuple(files),
            threads=self._settings.threads,
            providers=self._settings.providers,
            memory_bytes=self._memory_bytes(),
        )

    def _memory_bytes(self) -> int:
        limits_mib = [limit for limit in (self._manifest.memory_limit_mib, self._settings.memory_limit_mib) if limit]
        return min(limits_mib) * 2**20

    async def _drop_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.close()


def _limit(timeout_s: float) -> Callable[[], str]:
    deadline_s = trio.current_time() + timeout_s
    return lambda: f"it took more than {timeout_s:g} s" if trio.current_time() > deadline_s else ""
