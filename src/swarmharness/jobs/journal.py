"""The port through which a job is remembered beyond the process that runs it; this module holds no implementation.

What a job notes is written down soon, together with what others note (a chunk, or a tenth of a second of them): noting
never waits. What must not happen before something is written, such as paying for an answer, is given as `on_kept`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Protocol

from swarmharness.credit.terms import TaskTerms
from swarmharness.errors import ErrorKind
from swarmharness.execution.parameters import decode_parameters
from swarmharness.execution.ports import TRUNCATED, Item
from swarmharness.jobs.context import JobOptions
from swarmharness.registry.models import ModelKey, model_key

DIGEST_BYTES = 8
"""Enough to notice a file that changed; whoever could forge it owns the file."""
UNKNOWN_DIGEST = bytes(DIGEST_BYTES)
"""Stands for an input whose digest was lost with a damaged journal."""
UNUSABLE_DIGEST = blake2b(digest_size=DIGEST_BYTES, person=b"unusable").digest()
"""Stands for every input that cannot be used."""


def input_digest(item: Item) -> bytes:
    """Return what tells an item from another one; all inputs that cannot be used are alike."""
    if isinstance(item, str):
        return UNUSABLE_DIGEST
    return blake2b(item, digest_size=DIGEST_BYTES).digest()


class JobState(StrEnum):
    """How a job stands or ended."""

    OPEN = "open"
    """It has unanswered items, or its input has not ended; it may or may not run at the moment."""
    DONE = "done"
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    BUDGET = "budget"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class JobRecord:
    """What is known of one job without its items."""

    job_id: str
    skill: str
    kind: str
    """What kind of items the skill takes (see `execution.items`)."""
    options: JobOptions
    deadline_s: float
    """How long the job may take from when it was opened, or resumed."""
    source: Mapping[str, Any] = field(default_factory=dict)
    """Where the inputs come from, in the words of whoever submitted them: JSON values."""
    out: str = ""
    """Where the results go, likewise."""
    created_us: int = 0
    """Unix time; so is the next."""
    ended_us: int = 0
    state: JobState = JobState.OPEN
    reason: str = ""
    """Why it ended so, unless it is done."""
    items_fed: int = 0
    items_answered: int = 0
    input_ended: bool = False
    spent_microcredits: int = 0
    model_digest: bytes = b""
    """The model that the job is pinned to; empty for a job of the first release, which was not."""

    @property
    def model(self) -> ModelKey:
        """The skill and its model."""
        return model_key(self.skill, self.model_digest)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "job": self.job_id,
            "skill": self.skill,
            "model_digest": self.model_digest.hex(),
            "kind": self.kind,
            "state": str(self.state),
            "reason": self.reason,
            "created_us": self.created_us,
            "ended_us": self.ended_us,
            "items_fed": self.items_fed,
            "items_answered": self.items_answered,
            "input_ended": self.input_ended,
            "spent_microcredits": self.spent_microcredits,
            "budget_microcredits": self.options.budget_microcredits,
            "deadline_s": self.deadline_s,
            "verify": self.options.verify,
            "replicas": self.options.replicas,
            "wait": self.options.wait,
            "parameters": decode_parameters(self.options.parameters),
            "source": dict(self.source),
            "out": self.out,
        }


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The answer to one item: output bytes, or an error that names why there is none."""

    index: int
    output: bytes
    error: str
    error_kind: ErrorKind | None
    peer: str
    service_us: int
    receipt: str
    verified: bool = False
    """Whether a second node confirmed this answer before it was handed up, or this node gave it itself."""
    flags: int = 0
    """What the answer says beside the output, see `messages.Output`."""

    @property
    def truncated(self) -> bool:
        """Whether a part of the item was left out, because the model takes no more."""
        return bool(self.flags & TRUNCATED)


@dataclass(frozen=True, slots=True)
class Shortcomings:
    """How many answers of a job are not what was hoped for."""

    items_failed: int = 0
    """An error is their answer."""
    items_truncated: int = 0


@dataclass(frozen=True, slots=True)
class AnsweredChunk:
    """One chunk whose answer was taken."""

    peer: str
    receipt: str
    items: int
    first_index: int
    price_microcredits: int
    service_us: int
    elapsed_us: int
    answered_us: int
    """Unix time."""
    why: Mapping[str, Any] | None = None
    """The router's decision, if it was kept."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Where a job stands after a change: absolute numbers, so that what is written agrees with itself."""

    items_fed: int
    items_answered: int
    input_ended: bool
    spent_microcredits: int


class Journal(Protocol):
    """Remembers jobs. Noting is at once and never fails; reading sees what was written; `flush` writes everything."""

    def begin(self, record: JobRecord) -> None:
        """Note a new job."""

    def begin_again(self, record: JobRecord) -> None:
        """Note that a job goes on, with the deadline and budget of the record, and how it stands now."""

    def fed(self, job_id: str, first_index: int, digests: bytes, counts: Counts) -> None:
        """Note the input digests, end to end, of items that were fed for the first time."""

    def answered(
        self,
        job_id: str,
        results: Sequence[ItemResult],
        chunk: AnsweredChunk | None,
        owed: TaskTerms | None,
        counts: Counts,
        on_kept: Callable[[], None],
        *,
        why: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        """Note answers, and what is owed for them; `on_kept` is called once that is on disk.

        `why` forms the reasons of the chunk's decision, in any thread.
        """

    def voided(self, job_id: str, indices: Sequence[int], receipts: Sequence[str], counts: Counts) -> None:
        """Forget answers that turned out wrong, and that anything is owed for them."""

    def settled(self, tasks: Iterable[bytes]) -> None:
        """Note that tasks are owed no more."""

    def end(self, job_id: str, state: JobState, reason: str, ended_us: int, counts: Counts) -> None:
        """Note how a job ended."""

    def cancel(self, record: JobRecord, ended_us: int) -> None:
        """Note that a job that does not run was cancelled."""

    @property
    def problem(self) -> str:
        """Why nothing can be written down now; empty while it can."""

    async def room(self) -> None:
        """Wait until little enough is unwritten; raises UnavailableError while nothing can be written (a full disk)."""

    async def flush(self) -> None:
        """Return when all that was noted so far is on disk; raises as `room` does."""

    async def job(self, job_id: str) -> JobRecord | None:
        """Return one job."""

    async def jobs_beginning(self, start: str) -> list[JobRecord]:
        """Return some jobs whose ids begin so."""

    async def jobs(self, limit: int) -> list[JobRecord]:
        """Return the newest jobs, the newest first."""

    async def chunks(self, job_id: str, limit: int) -> list[AnsweredChunk]:
        """Return the newest answered chunks of a job, the newest first."""

    async def digests(self, job_id: str, first_index: int, count: int) -> bytes:
        """Return the input digests of these items, end to end; `UNKNOWN_DIGEST` for one that was lost."""

    async def answered_bits(self, job_id: str, items: int) -> bytearray:
        """Return a bitmap of the first `items` items, the least significant bit first: which have an answer."""

    async def results(self, job_id: str, first_index: int, *, count: int, size_bytes: int) -> list[ItemResult]:
        """Return answers from an index on that follow each other, as many as these limits allow, or at least one."""

    async def shortcomings(self, job_id: str) -> Shortcomings:
        """Return how many of a job's answers are errors, or of items that were truncated."""

    async def owed(self) -> list[TaskTerms]:
        """Return what was owed and not noted as settled."""
