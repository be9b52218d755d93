"""Tries a skill before it is offered: in a worker that can be killed, within its `timeout_secs`, on one made input."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from swarmharness.errors import DeadlineError, InputError, ModelFailureError
from swarmharness.execution.catalog import InstalledSkill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.pool import ProcessExecutor
from swarmharness.execution.settings import ExecutorSettings


@dataclass(frozen=True, slots=True)
class Trial:
    """A model that answered, on one thread of this machine's CPU."""

    load_us: int
    service_us: int
    """Of the made input."""
    work_microcredits: int
    """Of the made input."""


def try_skill(skill: InstalledSkill, store: ModelStore) -> Trial:
    """Open the model of a skill whose files are in the store, and have it answer an input; blocks for a second or more.

    Raises InputError with the reason why it cannot be offered, UnavailableError (files, or room for it, are missing).
    """
    settings = ExecutorSettings(threads=1, providers=("cpu",), measure_work=True)
    name = skill.manifest.name

    async def run() -> Trial:
        async with ProcessExecutor([skill], store, settings) as executor:
            info = await executor.load(name)
            return Trial(info.load_us, info.service_us, executor.work_microcredits(name))

    try:
        return trio.run(run)
    except (DeadlineError, ModelFailureError) as error:
        raise InputError(str(error)) from None
