"""What a running node answers to its own user: status, peers, jobs, credit; it knows nothing of sockets.

The control socket and the short-lived client of `submit --join` both call it; parameters and answers are plain
MessagePack values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import trio

from swarmharness import __version__
from swarmharness.errors import ConfigurationError, InputError, SwarmError, UnavailableError
from swarmharness.jobs.service import ItemResult, Job, JobSettings
from swarmharness.node.call_params import param
from swarmharness.node.credit_api import CreditApi
from swarmharness.node.owner_api import OwnerApi
from swarmharness.node.parts import NodeParts
from swarmharness.registry.invite import TOKEN_BYTES, Invite, invite_text
from swarmharness.routing.decisions import DECISIONS_MAX

POLL_S = 1.0
JOB_KEPT_S = 60.0
"""A job that nobody asks about for so long is cancelled: its submitter is gone."""
JOBS_MAX = 256

T = TypeVar("T")


@dataclass(slots=True)
class _OpenJob:
    job: Job
    closed: trio.Event = field(default_factory=trio.Event)
    asked_us: int = 0


@dataclass(frozen=True, slots=True)
class InviteTerms:
    """What this node's invites carry besides its address."""

    psk: bytes | None
    line_microcredits: int


class NodeApi:
    """The methods that `swarmharness` commands call."""

    def __init__(
        self,
        parts: NodeParts,
        terms: InviteTerms,
        *,
        refusals: Callable[[], Mapping[str, int]],
        stop: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._terms = terms
        self._refusals = refusals
        self._stop = stop
        self._jobs: dict[str, _OpenJob] = {}
        self._nursery: trio.Nursery | None = None
        self._owner = OwnerApi(parts)
        self._methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "node.status": self._node_status,
            "node.stop": self._node_stop,
            "node.invite": self._node_invite,
            "peers.list": self._peers_list,
            "router.explain": self._router_explain,
            "router.snapshot": self._router_snapshot,
            "router.why": self._router_why,
            **CreditApi(parts).methods,
            **self._owner.methods,
            "registry.join": self._registry_join,
            "job.open": self._job_open,
            "job.feed": self._job_feed,
            "job.results": self._job_results,
            "job.cancel": self._job_cancel,
        }

    @property
    def parts(self) -> NodeParts:
        """The services behind the methods, for callers in the same process."""
        return self._parts

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold open jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await trio.sleep(JOB_KEPT_S / 4)
                now_us = self._parts.ports.clock.monotonic_us()
                for held in self._jobs.values():
                    if now_us - held.asked_us > JOB_KEPT_S * 1e6:
                        held.closed.set()

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        """Answer one call; raises the SwarmError that says why not."""
        handler = self._methods.get(method)
        if handler is None:
            raise InputError(f"this node has no method {method!r}; is it of another version than the command?")
        with trio.move_on_after(timeout_s):
            return await handler(params)
        raise SwarmError(f"{method} took longer than {timeout_s:g} s")

    # -- the node ---------------------------------------------------------------------------------------------

    async def _node_status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        parts, ports = self._parts, self._parts.ports
        return {
            "peer_id": ports.transport.peer_id,
            "version": __version__,
            "uptime_s": (ports.clock.monotonic_us() - parts.started_us) // 1_000_000,
            "addresses": list(ports.transport.addresses),
            "skills": [
                {
                    "name": skill.name,
                    "version": skill.version,
                    "provider": skill.provider,
                    "service_ms": skill.service_us / 1000,
                }
                for skill in ports.executor.skills()
            ],
            "owner": await self._owner.status(),
            "tasks_running": parts.tasks.active,
            "jobs_open": len(self._jobs),
            "registry": parts.registry.status(),
            "refused_messages": {
                **self._refusals(),
                **{str(key): n for key, n in (parts.credit.refused + parts.spread.refused).items()},
            },
        }

    async def _node_stop(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._stop()
        return {}

    async def _node_invite(self, _: Mapping[str, Any]) -> dict[str, Any]:
        ports = self._parts.ports
        addresses = ports.transport.addresses
        if not addresses:
            raise ConfigurationError("this node does not listen, so nobody can join it; start it with --listen")
        invite = Invite(
            peer_id=ports.transport.peer_id,
            addresses=addresses,
            pre_shared_key=self._terms.psk,
            credit_line_microcredits=self._terms.line_microcredits,
            token=ports.randomness.token(TOKEN_BYTES),
            expires_unix_s=0,
        )
        return {"invite": invite_text(invite, ports.signer), "addresses": list(addresses)}

    async def _registry_join(self, params: Mapping[str, Any]) -> dict[str, Any]:
        outcomes = await self._parts.join([param(params, "target", str)])
        for error in outcomes.values():
            if error is not None:
                raise error
        return {"peers": list(outcomes)}

    async def _peers_list(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return self._parts.router.peers()

    async def _router_explain(self, params: Mapping[str, Any]) -> dict[str, Any]:
        skill = param(params, "skill", str)
        try:
            await self._parts.registry.candidates(skill)  # so that a skill nobody asked for yet is looked up
        except UnavailableError:
            if not any(known.advert.skill(skill) for known in self._parts.registry.known()):
                raise  # otherwise the explanation says of each why it cannot
        return self._parts.router.explain(skill, max(1, param(params, "items", int, 1))).as_dict()

    async def _router_snapshot(self, params: Mapping[str, Any]) -> dict[str, Any]:
        skill = param(params, "skill", str)
        await self._parts.registry.candidates(skill)
        return self._parts.router.snapshot(skill).as_dict()

    async def _router_why(self, params: Mapping[str, Any]) -> dict[str, Any]:
        task = param(params, "task", str)
        decision = self._parts.router.decisions.of(task)
        if decision is None:
            raise InputError(
                f"no decision is remembered for the task {task!r}; a node remembers its last {DECISIONS_MAX}"
            )
        return decision.as_dict()

    # -- jobs -------------------------------------------------------------------------------------------------

    async def _job_open(self, params: Mapping[str, Any]) -> dict[str, Any]:
        skill = param(params, "skill", str)
        deadline_s = float(param(params, "deadline_s", (int, float), self._parts.settings.jobs.deadline_s))
        if deadline_s <= 0:
            raise InputError(f"a deadline of {deadline_s:g} s has passed already; give a positive number of seconds")
        if len(self._jobs) >= JOBS_MAX:
            raise InputError(f"{JOBS_MAX} jobs are open on this node; wait for one to end")
        job_id = self._parts.ports.randomness.token(8).hex()
        if self._nursery is None:
            raise SwarmError("the node is not ready for jobs yet")
        settings = replace(self._parts.settings.jobs, deadline_s=deadline_s)
        await self._nursery.start(self._hold, job_id, skill, settings)
        return {"job": job_id, "task": self._jobs[job_id].job.task}

    async def _hold(
        self, job_id: str, skill: str, settings: JobSettings, *, task_status: trio.TaskStatus[None]
    ) -> None:
        async with self._parts.jobs.open(skill, settings) as job:
            held = self._jobs[job_id] = _OpenJob(job, asked_us=self._parts.ports.clock.monotonic_us())
            task_status.started()
            try:
                await held.closed.wait()
            finally:
                del self._jobs[job_id]

    async def _job_feed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        items = param(params, "items", list)
        if not all(isinstance(item, bytes) for item in items):
            raise InputError("job.feed: every item is a byte string")
        await self._job(params).feed(items, last=param(params, "last", bool, False))
        return {}

    async def _job_results(self, params: Mapping[str, Any]) -> dict[str, Any]:
        job = self._job(params)
        results = job.ready()
        if not results and not job.done:
            await job.wait(timeout_s=POLL_S)
            results = job.ready()
        answer = {
            "results": [_result(result) for result in results],
            "done": job.done,
            "progress": asdict(job.progress),
        }
        if job.done:
            self._jobs[param(params, "job", str)].closed.set()
        return answer

    async def _job_cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self._job(params)
        self._jobs[param(params, "job", str)].closed.set()
        return {}

    def _job(self, params: Mapping[str, Any]) -> Job:
        held = self._jobs.get(param(params, "job", str))
        if held is None:
            raise InputError("this node has no such job: it was cancelled, or nobody asked about it for a minute")
        held.asked_us = self._parts.ports.clock.monotonic_us()
        return held.job


def _result(result: ItemResult) -> dict[str, Any]:
    return {
        "index": result.index,
        "output": result.output,
        "error": result.error,
        "error_kind": None if result.error_kind is None else int(result.error_kind),
        "peer": result.peer,
        "service_ms": round(result.service_us / 1000, 3),
        "receipt": result.receipt,
    }
