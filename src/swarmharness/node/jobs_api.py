"""What a running node answers to its own user about jobs, and how long it holds each; it runs none itself.

Parameters and answers are maps of plain values; items and outputs are bytes in the skill's encoding.

| method | parameters | answer |
|---|---|---|
| `job.prepare` | as `job.open` | kind; raises what `job.open` would, and opens nothing |
| `job.open` | skill (SKILL or SKILL@DIGEST); optional: deadline_s, budget_microcredits, verify, replicas, wait (for a \
provider, until the deadline), parameters (a map, see `execution.parameters`), source (a map of plain values, kept for \
whoever resumes the job), out (a path, likewise) | job (its id), kind, reader, model_digest (which the job is pinned \
to), models (that go by the skill's name: model_digest, nodes, usable, local) |
| `job.feed` | job, items (in order; a text in place of one says why it cannot be used), last; reader \
| {}; or, while an input is read again: differs (the index of the first item that is another one), problem |
| `job.know` | job, known: pairs (item, output) whose outputs are certain | {} |
| `job.results` | job; reader; optional: kept (the last answer waits for the disk) \
| results (index, output, error, error_kind, peer, model_digest, service_ms, receipt, \
verified, flags; in input order), done, state, reason, reason_kind (of the error that ended it), progress \
(items_total: fed so far, items_done, peers, spent_microcredits, waiting_for: what it waits for while nobody can go on \
with it, or nothing), warning (what keeps the node from \
writing answers and payments down, or nothing) |
| `job.cancel` | job | {} |
| `job.resume` | job; compare: whether the input will be fed again from its start; optional: deadline_s, \
budget_microcredits, out | as `job.open`, and source, out, items_fed, items_answered |
| `job.list` | optional: limit | jobs: records, the newest first |
| `job.show` | job; optional: limit of chunks | job: its record; chunks: who answered what, for what price, and why |

`job.feed` waits while the job holds its window of items, so the caller needs a long time-out and a task that takes
results meanwhile. `job.results` waits up to a second for news; once it says `done`, `state` is how the job ended.
`reader` is a number: a later `job.resume` takes the job over, and calls with an earlier number are refused then. A job
whose submitter is silent for a minute finishes what it was fed and is put aside; `job.resume` takes it up again. State
is one of `jobs.journal.JobState`, and in `job.list` and `job.show` also `running` and `paused` (open, and held by
nobody).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import trio

from swarmharness.errors import ConfigurationError, InputChangedError, InputError, SwarmError, UnavailableError
from swarmharness.jobs.context import VERIFY, JobOptions
from swarmharness.jobs.journal import JobRecord, JobState, Shortcomings
from swarmharness.jobs.service import ItemResult, Job
from swarmharness.node.call_params import param
from swarmharness.node.parts import NodeParts
from swarmharness.registry.models import model_key

POLL_S = 1.0
KEPT_WITHIN_S = 1.0
SILENCE_S = 60.0
"""A job that nobody asks about for so long has lost its submitter."""
JOBS_MAX = 256
SOURCE_BYTES_MAX = 1 << 20
LISTED_MAX = 1000
REPLICAS_MAX = 9
BUDGET_MAX = 2**53
KNOWN_MAX = 64


@dataclass(slots=True)
class _HeldJob:
    job: Job
    asked_us: int
    reader: int = 1
    closed: trio.Event = field(default_factory=trio.Event)
    gone: trio.Event = field(default_factory=trio.Event)


class JobsApi:
    """The control methods `job.*`."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._held: dict[str, _HeldJob] = {}
        self._nursery: trio.Nursery | None = None
        self.methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "job.prepare": self._prepare,
            "job.open": self._open,
            "job.feed": self._feed,
            "job.know": self._know,
            "job.results": self._results,
            "job.cancel": self._cancel,
            "job.resume": self._resume,
            "job.list": self._list,
            "job.show": self._show,
        }

    def __len__(self) -> int:
        return len(self._held)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold open jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await trio.sleep(SILENCE_S / 4)
                now_us = self._parts.ports.clock.monotonic_us()
                for held in self._held.values():
                    if held.job.resting and now_us - held.asked_us > SILENCE_S * 1e6:
                        held.closed.set()

    # -- opening ----------------------------------------------------------------------------------------------

    async def _prepare(self, params: Mapping[str, Any]) -> dict[str, Any]:
        options = _options(params, JobOptions())
        kind = await self._parts.jobs.prepare(
            param(params, "skill", str), options, _parameters(params), deadline_s=self._deadline_s(params)
        )
        return {"kind": kind}

    async def _open(self, params: Mapping[str, Any]) -> dict[str, Any]:
        skill = param(params, "skill", str)
        settings = replace(self._parts.settings.jobs, deadline_s=self._deadline_s(params))
        checks = self._parts.settings.verification
        options = _options(params, JobOptions(checks.mode.value, checks.replicas))
        source, out = param(params, "source", dict, {}), param(params, "out", str, "")
        if len(json.dumps(source)) > SOURCE_BYTES_MAX:
            raise InputError(f"job.open: the source of the inputs has more than {SOURCE_BYTES_MAX} bytes")
        jobs = self._parts.jobs
        job_id = self._parts.ports.randomness.token(8).hex()
        kept_as = job_id if jobs.journal is not None else ""
        opened = jobs.open(
            skill,
            settings,
            options=options,
            parameters=_parameters(params),
            job_id=kept_as,
            source=source,
            out=out,
        )
        held = await self._hold(job_id, opened)
        return {
            "job": job_id,
            "kind": held.job.kind,
            "reader": held.reader,
            "model_digest": held.job.model_digest.hex(),
            "models": [one.as_dict() for one in self._parts.router.models(held.job.skill)],
        }

    async def _resume(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job_id, compare = param(params, "job", str), param(params, "compare", bool, False)
        held = self._held.get(job_id)
        if held is not None and held.job.record.state is JobState.OPEN and not held.closed.is_set():
            journal = self._parts.jobs.journal
            if journal is None:
                raise InputError("this node keeps no journal of jobs")
            for name in ("deadline_s", "budget_microcredits"):
                if name in params:
                    raise InputError(f"job {job_id} runs: {name} cannot be changed; cancel it first, then resume it")
            await journal.flush()
            _check_inputs(held.job, compare=compare)
            held.reader += 1
            held.job.read_again(compare=compare)
        else:
            if held is not None:  # it ended a moment ago
                held.closed.set()
                await held.gone.wait()
            deadline_s = self._deadline_s(params) if "deadline_s" in params else None
            settings = None if deadline_s is None else replace(self._parts.settings.jobs, deadline_s=deadline_s)
            budget, out = _options(params, JobOptions()).budget_microcredits, param(params, "out", str, "")
            opened = self._parts.jobs.resume(job_id, settings, compare=compare, budget_microcredits=budget, out=out)
            held = await self._hold(job_id, opened)
            try:
                _check_inputs(held.job, compare=compare)
            except InputError:
                held.closed.set()
                raise
        record = held.job.record
        held.asked_us = self._parts.ports.clock.monotonic_us()
        return {
            "job": job_id,
            "kind": held.job.kind,
            "reader": held.reader,
            "skill": record.skill,
            "model_digest": record.model_digest.hex(),
            "source": dict(record.source),
            "out": record.out,
            "items_fed": record.items_fed,
            "items_answered": record.items_answered,
        }

    async def _hold(self, job_id: str, opened: AbstractAsyncContextManager[Job]) -> _HeldJob:
        if len(self._held) >= JOBS_MAX:
            raise InputError(f"{JOBS_MAX} jobs are open on this node; wait for one to end")
        if self._nursery is None:
            raise SwarmError("the node is not ready for jobs yet")
        held: _HeldJob = await self._nursery.start(self._run_job, job_id, opened)
        return held

    async def _run_job(
        self, job_id: str, opened: AbstractAsyncContextManager[Job], *, task_status: trio.TaskStatus[_HeldJob]
    ) -> None:
        async with opened as job:
            held = self._held[job_id] = _HeldJob(job, self._parts.ports.clock.monotonic_us())
            task_status.started(held)
            try:
                await held.closed.wait()
            finally:
                del self._held[job_id]
                held.gone.set()

    # -- feeding and reading ----------------------------------------------------------------------------------

    async def _feed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        items = param(params, "items", list)
        if not all(isinstance(item, bytes | str) for item in items):
            raise InputError("job.feed: every item is a byte string, or a text that says why there is none")
        try:
            await self._asked(params).job.feed(items, last=param(params, "last", bool, False))
        except InputChangedError as error:
            return {"differs": error.index, "problem": str(error)}
        return {}

    async def _know(self, params: Mapping[str, Any]) -> dict[str, Any]:
        known = param(params, "known", list)
        if len(known) > KNOWN_MAX or not all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, bytes) for part in pair)
            for pair in known
        ):
            raise InputError(f"job.know: at most {KNOWN_MAX} pairs of byte strings, an item and its output")
        job = self._asked(params).job
        model, parameters = model_key(job.skill, job.model_digest), job.record.options.parameters
        for item, output in known:
            self._parts.verification.know(model, parameters, item, output)
        return {}

    async def _results(self, params: Mapping[str, Any]) -> dict[str, Any]:
        held = self._asked(params)
        job = held.job
        results = await job.take()
        if not results and not job.done:
            await job.wait(timeout_s=POLL_S)
            results = await job.take()
        record = job.record
        if job.done:
            held.closed.set()
            if param(params, "kept", bool, False):
                await self._until_kept()
        return {
            "results": [_result(result, job.model_digest) for result in results],
            "done": job.done,
            "state": str(record.state),
            "reason": record.reason,
            "reason_kind": None if job.failure is None else int(job.failure.kind),
            "progress": asdict(job.progress),
            "warning": self._warning(),
        }

    async def _until_kept(self) -> None:
        """Wait a moment for what was noted to be on disk, so that a disk that does not take it is heard of."""
        journal = self._parts.jobs.journal
        if journal is not None:
            with trio.move_on_after(KEPT_WITHIN_S), suppress(SwarmError):
                await journal.flush()

    def _warning(self) -> str:
        """Return what keeps this node from writing down what a job costs and brings, if anything does."""
        journal = self._parts.jobs.journal
        return (journal.problem if journal is not None else "") or self._parts.ports.receipts.health.problem

    async def _cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job_id = param(params, "job", str)
        held = self._held.get(job_id)
        if held is not None:
            held.job.end(JobState.CANCELLED, UnavailableError("the job was cancelled"))
            held.closed.set()
            await held.gone.wait()
            return {}
        record = await self._record(job_id)
        journal = self._parts.jobs.journal
        if record.state is JobState.OPEN and journal is not None:
            journal.cancel(record, self._parts.ports.clock.unix_us())
            await journal.flush()
        return {}

    # -- showing ----------------------------------------------------------------------------------------------

    async def _list(self, params: Mapping[str, Any]) -> dict[str, Any]:
        limit = min(max(param(params, "limit", int, 20), 1), LISTED_MAX)
        journal = self._parts.jobs.journal
        if journal is None:
            return {"jobs": [self._shown(held.job.record) for held in self._held.values()]}
        await journal.flush()
        return {"jobs": [self._shown(record) for record in await journal.jobs(limit)]}

    async def _show(self, params: Mapping[str, Any]) -> dict[str, Any]:
        record = await self._record(param(params, "job", str))
        limit = min(max(param(params, "limit", int, 20), 0), LISTED_MAX)
        journal = self._parts.jobs.journal
        chunks = await journal.chunks(record.job_id, limit) if journal is not None else []
        short = await journal.shortcomings(record.job_id) if journal is not None else Shortcomings()
        return {"job": {**self._shown(record), **asdict(short)}, "chunks": [asdict(chunk) for chunk in chunks]}

    async def _record(self, job_id: str) -> JobRecord:
        journal = self._parts.jobs.journal
        if journal is None:
            raise InputError("this node keeps no journal of jobs")
        await journal.flush()
        found = await journal.jobs_beginning(job_id)
        if len(found) > 1:
            raise InputError(f"several jobs begin with {job_id!r}: {', '.join(record.job_id for record in found)}")
        if not found:
            raise InputError(f"there is no job {job_id!r} here; `swarmharness jobs list` shows those that there are")
        return found[0]

    def _shown(self, record: JobRecord) -> dict[str, Any]:
        held = self._held.get(record.job_id)
        if held is None:
            return {**record.as_dict(), "state": shown_state(record)}
        state = "running" if record.state is JobState.OPEN else str(record.state)
        return {**held.job.record.as_dict(), "state": state}

    # -- parts ------------------------------------------------------------------------------------------------

    def _asked(self, params: Mapping[str, Any]) -> _HeldJob:
        job_id = param(params, "job", str)
        held = self._held.get(job_id)
        if held is None:
            raise InputError(
                "this node holds no such job: it was cancelled, or put aside since nobody asked about it for a minute;"
                f" `swarmharness jobs resume {job_id}` goes on with it"
            )
        if param(params, "reader", int, held.reader) != held.reader:
            raise InputError(f"another command has taken job {job_id} over")
        held.asked_us = self._parts.ports.clock.monotonic_us()
        return held

    def _deadline_s(self, params: Mapping[str, Any]) -> float:
        deadline_s = float(param(params, "deadline_s", (int, float), self._parts.settings.jobs.deadline_s))
        if not deadline_s > 0:
            raise InputError(f"a deadline of {deadline_s:g} s has passed already; give a positive number of seconds")
        return deadline_s


def _check_inputs(job: Job, *, compare: bool) -> None:
    if not (compare or (job.record.input_ended and job.has_all)):
        raise InputError(f"job {job.job_id} has not got all of its inputs: they must be given again from the start")


def shown_state(record: JobRecord) -> str:
    """Return the state of a job that no node holds."""
    return "paused" if record.state is JobState.OPEN else str(record.state)


def _options(params: Mapping[str, Any], default: JobOptions) -> JobOptions:
    verify = param(params, "verify", str, default.verify)
    replicas = param(params, "replicas", int, default.replicas)
    budget = param(params, "budget_microcredits", int) if "budget_microcredits" in params else None
    if verify not in VERIFY:
        raise ConfigurationError(f"verify is {verify!r}; allowed is one of {', '.join(VERIFY)}")
    if not 1 <= replicas <= REPLICAS_MAX:
        raise ConfigurationError(f"replicas is {replicas}; allowed is 1 to {REPLICAS_MAX}")
    if budget is not None and not 0 <= budget <= BUDGET_MAX:
        raise ConfigurationError(f"a budget is 0 to {BUDGET_MAX} micro-credits, not {budget}")
    return JobOptions(verify, replicas, budget, param(params, "wait", bool, default.wait))


def _parameters(params: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters: Mapping[str, Any] = param(params, "parameters", dict, {})
    return parameters


def _result(result: ItemResult, model_digest: bytes) -> dict[str, Any]:
    return {
        "index": result.index,
        "output": result.output,
        "error": result.error,
        "error_kind": None if result.error_kind is None else int(result.error_kind),
        "peer": result.peer,
        "model_digest": model_digest.hex() if result.peer else "",
        "service_ms": round(result.service_us / 1000, 3),
        "receipt": result.receipt,
        "verified": result.verified,
        "flags": result.flags,
    }
