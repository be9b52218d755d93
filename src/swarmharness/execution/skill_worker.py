"""Keeps the one worker of a skill: starts it, loads it, restarts it with back-off, explains its death; no queue."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import trio

from swarmharness.errors import DeadlineError, InputError, ModelFailureError, SwarmError, UnavailableError
from swarmharness.execution.batching import abandoned_limit_us, occupation_us, restart_delay_us, trial_delay_s
from swarmharness.execution.call_queue import Batch
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.model_check import check_models
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.settings import ExecutorSettings
from swarmharness.execution.skill import Kind
from swarmharness.execution.worker_messages import (
    Done,
    Failed,
    Failure,
    FilePath,
    Load,
    Loaded,
    Message,
    Open,
    Opened,
    Run,
    Tried,
    Try,
)
from swarmharness.execution.worker_process import Cause, Lost, WorkerProcess

_log = logging.getLogger(__name__)
_M = TypeVar("_M", bound=Message)

MEASURE_S_MAX = 2.0
"""How long a model is measured, if `timeout_secs` allows four times as much."""


_OTHER_SAMPLES = " (it got zeros and ones; sample_shape and sample_value of [[model.inputs]] in skill.toml name others)"


class SkillWorker:
    """The worker of one skill, while there is one."""

    def __init__(
        self, skill: InstalledSkill, store: ModelStore, settings: ExecutorSettings, threads: Callable[[], int]
    ) -> None:
        self._skill = skill
        self._manifest = skill.manifest
        self._store = store
        self._settings = settings
        self._threads = threads
        self._threads_in_use = 0
        self._process: WorkerProcess | None = None
        self._provider = ""
        self._failures = 0
        self.service_us = 0
        """Measured time of one item, rests included; 0 while unmeasured."""
        self.load_us = 0
        """Measured time from the start of the process until the model was open and tried; 0 while unmeasured."""
        self.work_microcredits = 0
        """Measured work of an item; 0 unless the settings ask for it."""
        self.unusable: SwarmError | None = None
        """Why the model was of no use when it was last tried; None when it was not tried, or answered."""
        self._retry_at_s = 0.0
        self._trials_lost = 0

    @property
    def pid(self) -> int | None:
        """The process id, while the process lives."""
        return self._process.pid if self._process is not None and self._process.alive else None

    @property
    def provider(self) -> str:
        """The execution provider in use, or nothing while no model is open."""
        return self._provider if self.pid is not None else ""

    @property
    def retry_s(self) -> float:
        """How long to wait before a model that is unusable is tried again; infinity when that would change nothing."""
        return max(0.0, self._retry_at_s - trio.current_time()) if self.unusable is not None else math.inf

    @property
    def loaded(self) -> bool:
        """Whether there is a process, alive or not."""
        return self._process is not None

    async def ready(self) -> WorkerProcess:
        """Return the worker, started and loaded if need be. See `ProcessExecutor.load` for what it raises."""
        if self._process is not None:
            alive, threads = self._process.alive, self._threads()
            if alive and threads == self._threads_in_use:
                return self._process
            if alive:
                _log.info("%s: it may use %d threads now, and is loaded anew", self._manifest.name, threads)
            else:
                _log.warning("%s: its worker ended while idle", self._manifest.name)
                self._failures += 1
            await self.end()
        await trio.sleep(restart_delay_us(self._failures) / 1e6)
        try:
            self._process = await self._start()
        except UnavailableError:
            raise  # files or processes are missing, which says nothing about the model
        except SwarmError as error:
            self._give_up(error)
            raise
        self.unusable, self._trials_lost = None, 0
        return self._process

    def mended(self) -> None:
        """Hear that the model's files are others than before: whatever was wrong with them is forgotten."""
        self.unusable, self._trials_lost, self._failures = None, 0, 0

    def _give_up(self, error: SwarmError) -> None:
        """Offer the model no longer; one that was lost, and not refused, is tried again, ever more rarely."""
        self.unusable = error
        if isinstance(error, InputError):
            self._retry_at_s = math.inf
        else:
            self._retry_at_s = trio.current_time() + trial_delay_s(self._trials_lost)
            self._trials_lost += 1

    async def run(self, process: WorkerProcess, batch: Batch) -> Done | SwarmError:
        """Run a batch and return its outputs, or what to tell its callers; the worker is gone then."""
        answer = await process.exchange(Run(batch.items, batch.parameters), self._overdue(batch))
        match answer:
            case Done(outputs) if len(outputs) == batch.size:
                self._failures = 0
                return answer
            case Failed(failure, reason):
                lost = Lost(Cause.MEMORY if failure is Failure.MEMORY else Cause.CRASHED, reason)
            case Lost():
                lost = answer
            case _:
                lost = Lost(Cause.CRASHED, "it sent an answer that does not fit")
        self._failures += 1
        await self.end()
        _log.warning(
            "%s: worker lost (%s: %s), %d callers waited",
            self._manifest.name,
            lost.cause.value,
            lost.reason,
            len(batch.waiting),
        )
        return self._error(lost)

    async def end(self) -> None:
        """Kill the worker, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            await process.close()

    async def _fetch(self) -> None:
        """Bring what is missing of the model into the store, if that is allowed; it is checked before it is opened."""
        if self._settings.fetch_models and self._store.missing(self._manifest):
            _log.info("%s: its model is fetched", self._manifest.name)
            stopped = threading.Event()
            fetch = partial(self._store.fetch, self._manifest, self._skill.folder, stopped=stopped)
            try:
                await trio.to_thread.run_sync(fetch, abandon_on_cancel=True)
            except SwarmError:
                self._failures += 1
                raise
            finally:
                stopped.set()  # the thread of a call that was cancelled goes on otherwise

    async def _start(self) -> WorkerProcess:
        await self._fetch()
        started_s = trio.current_time()
        check = partial(check_models, self._manifest, self._store, size_bytes_max=self._settings.model_bytes_max)
        await trio.to_thread.run_sync(check, abandon_on_cancel=True)
        try:
            process = WorkerProcess.start(niceness=self._settings.niceness)
        except OSError as error:
            raise UnavailableError(f"{self._manifest.name}: no worker could be started: {error.strerror}") from None
        process.memory_bytes_max = self._memory_bytes()
        try:
            await self._bring_up(process)
        except BaseException:
            self._failures += 1
            await process.close()
            raise
        self.load_us = round((trio.current_time() - started_s) * 1e6)
        return process

    async def _bring_up(self, process: WorkerProcess) -> None:
        """Load, open and try the model, or raise why it is of no use; its own time is limited as that of a batch."""
        name, own_s = self._manifest.name, float(self._manifest.timeout_s)
        expect = partial(self._expect, process)
        await expect(self._load_message(), Loaded, self._settings.load_timeout_s, "loaded")
        opened = await expect(Open(), Opened, own_s, "opened", "timeout_secs")
        for warning in opened.warnings:
            _log.warning("%s: %s", name, warning)
        trial = Try(round(1000 * min(MEASURE_S_MAX, own_s / 4)), self._settings.measure_work)
        tried = await expect(trial, Tried, own_s, "tried", "timeout_secs")
        self._provider, self.work_microcredits = opened.provider, tried.work_microcredits
        self.service_us = occupation_us(tried.service_us, cpu_share=self._settings.cpu_share)
        _log.info("%s: ready on %s, %.1f ms an item", name, opened.provider, tried.service_us / 1000)

    async def _expect(
        self, process: WorkerProcess, message: Message, wanted: type[_M], limit_s: float, done: str, key: str = ""
    ) -> _M:
        """Return the answer to a message of the beginning, or raise what is wrong with the model."""
        answer = await process.exchange(message, _limit(limit_s, key))
        if isinstance(answer, wanted):
            return answer
        match answer:
            case Failed(Failure.MEMORY, reason):
                raise self._error(Lost(Cause.MEMORY, f"while it was {done}: {reason}"))
            case Failed(_, reason):
                hint = _OTHER_SAMPLES if wanted is Tried and self._manifest.kind is Kind.TENSOR else ""
                problem = f"{self._manifest.name}: the model cannot be {done}"
                raise InputError(f"{problem}: {reason}{hint}").for_peers(f"{problem} there")
            case Lost():
                raise self._error(Lost(answer.cause, f"while it was {done}: {answer.reason}"))
            case _:
                raise self._error(Lost(Cause.CRASHED, "it sent an answer that does not fit"))

    def _load_message(self) -> Load:
        self._threads_in_use = self._threads()
        files = [
            FilePath(file.name, os.fsencode(self._store.path(file.sha256)), file.sha256)
            for file in self._manifest.files
        ]
        return Load(
            manifest=self._skill.text,
            files=tuple(files),
            threads=self._threads_in_use,
            providers=self._settings.providers,
            memory_bytes=self._memory_bytes(),
        )

    def _memory_bytes(self) -> int:
        limits_mib = [limit for limit in (self._manifest.memory_limit_mib, self._settings.memory_limit_mib) if limit]
        return min(limits_mib) * 2**20

    def _error(self, lost: Lost) -> SwarmError:
        name = self._manifest.name
        match lost.cause:
            case Cause.HUNG:
                return DeadlineError(f"{name}: the model was stopped: {lost.reason}")
            case Cause.MEMORY:
                limit_mib = self._memory_bytes() // 2**20
                problem = f"{name}: the model exceeded its memory limit of {limit_mib} MiB"
            case Cause.CRASHED:
                problem = f"{name}: the model's process crashed"
        return ModelFailureError(f"{problem} ({lost.reason})").for_peers(problem)

    def _overdue(self, batch: Batch) -> Callable[[], str]:
        started_s = trio.current_time()
        limit_s = float(self._manifest.timeout_s)
        abandoned_s = abandoned_limit_us(batch.size, self.service_us) / 1e6

        def overdue() -> str:
            ran_s = trio.current_time() - started_s
            if ran_s > limit_s:
                return f"it ran for more than {limit_s:g} s (timeout_secs)"
            if ran_s > abandoned_s and not batch.waiting:
                return f"it ran for {ran_s:.1f} s and nobody waits for it any more"
            return ""

        return overdue


def _limit(timeout_s: float, key: str) -> Callable[[], str]:
    deadline_s = trio.current_time() + timeout_s
    reason = f"it took more than {timeout_s:g} s" + (f" ({key})" if key else "")
    return lambda: reason if trio.current_time() > deadline_s else ""
