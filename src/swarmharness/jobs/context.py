"""What the layers between a job and the wire know of the job: its options, its purse, and how to void its results."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from swarmharness.execution.parameters import decode_parameters
from swarmharness.jobs.asking import TaskRunner
from swarmharness.jobs.purse import Purse

VERIFY = ("none", "adaptive", "always")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """What whoever submits a job may ask of it."""

    verify: str = "none"
    """One of `VERIFY`."""
    replicas: int = 1
    """How many peers answer each task that is checked, at least."""
    budget_microcredits: int | None = None
    wait: bool = False
    """Whether it waits for a provider until its deadline, even if nobody has served it yet."""
    parameters: bytes = b""
    """What all of its tasks are told beside their items, see `execution.parameters`."""

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """What a peer must take to be asked."""
        return tuple(decode_parameters(self.parameters))


def _nothing(_: Collection[str]) -> None:
    """The job has not begun."""


@dataclass(slots=True)
class JobContext:
    """One job, as its layers see it; a `TaskLayers` gets it before the job's first task."""

    options: JobOptions = field(default_factory=JobOptions)
    purse: Purse = field(default_factory=Purse)
    begun_s: float | None = None
    """When its deadline began to run, in trio's time: before anybody was looked for. None: when its work begins."""
    void: Callable[[Collection[str]], None] = _nothing
    """Takes receipts (`TaskAnswer.receipt`) whose answers turned out wrong: what was not handed out is done again.

    The job sets it. Such an answer is neither settled nor counted against the budget."""

    def let_go(self) -> None:
        """Void nothing from now on: the job has ended."""
        self.void = _nothing


TaskLayers = Callable[[JobContext], TaskRunner]
"""Builds what runs one job's tasks; called once for each job."""
