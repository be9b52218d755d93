"""What a running node answers to its own user: status, peers, jobs, credit; it knows nothing of sockets.

The control socket and the short-lived client of `submit --join` both call it; parameters and answers are plain
MessagePack values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import trio

from swarmharness.errors import ConfigurationError, InputError, SwarmError
from swarmharness.jobs.service import ItemResult, Job
from swarmharness.node.parts import NodeParts
from swarmharness.registry.invite import Invite, write_invite

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


class NodeApi:
    """The methods that `swarmharness` commands call."""

    def __init__(
        self, parts: NodeParts, *, stop: Callable[[], None], reload: Callable[[], Awaitable[list[str]]]
    ) -> None:
        self._parts = parts
        self._stop = stop
        self._reload = reload
        self._jobs: dict[str, _OpenJob] = {}
        self._nursery: trio.Nursery | None = None
        self._methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "node.status": self._node_status,
            "node.stop": self._node_stop,
            "node.invite": self._node_invite,
            "peers.list": self._peers_list,
            "router.explain": self._router_explain,
            "credit.balance": self._credit_balance,
            "credit.history": self._credit_history,
            "config.reload": self._config_reload,
            "registry.join": self._registry_join,
            "job.open": self._job_open,
            "job.feed": self._job_feed,
            "job.results": self._job_results,
            "job.cancel": self._job_cancel,
        }

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold open jobs until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                await trio.sleep(JOB_KEPT_S / 4)
                now_us = self._parts.clock.monotonic_us()
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
        parts = self._parts
        return {
            "peer_id": parts.transport.peer_id,
            "version": parts.version,
            "uptime_s": (parts.clock.monotonic_us() - parts.started_us) // 1_000_000,
            "addresses": list(parts.transport.addresses),
            "connected_peers": len(parts.transport.connected()),
            "known_peers": len(parts.router.peers()),
            "skills": [
                {
                    "name": skill.name,
                    "version": skill.version,
                    "provider": skill.provider,
                    "service_us": skill.service_us,
                }
                for skill in parts.executor.skills()
            ],
            "tasks_running": parts.tasks.active,
            "jobs_open": len(self._jobs),
            "problems": list(parts.registry.problems()),
            "refused_messages": {str(reason): count for reason, count in parts.refusals().items()},
        }

    async def _node_stop(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._stop()
        return {}

    async def _node_invite(self, _: Mapping[str, Any]) -> dict[str, Any]:
        parts = self._parts
        addresses = parts.transport.addresses
        if not addresses:
            raise ConfigurationError("this node does not listen, so nobody can join it; start it with --listen")
        invite = Invite(parts.transport.peer_id, tuple(addresses), parts.psk, parts.invite_line_microcredits)
        return {"invite": write_invite(invite, parts.signer), "addresses": list(addresses)}

    async def _config_reload(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"changed": await self._reload()}

    async def _registry_join(self, params: Mapping[str, Any]) -> dict[str, Any]:
        peer_id = await self._parts.registry.join(_value(params, "target", str))
        return {"peer_id": peer_id}

    async def _peers_list(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [row.as_dict() for row in self._parts.router.peers()]

    async def _router_explain(self, params: Mapping[str, Any]) -> dict[str, Any]:
        explanation = await self._parts.router.explain(_value(params, "skill", str))
        return explanation.as_dict()

    async def _credit_balance(self, _: Mapping[str, Any]) -> dict[str, Any]:
        balance = await self._parts.credit.balance()
        return balance.as_dict()

    async def _credit_history(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        limit = min(max(_value(params, "limit", int, 20), 1), 10_000)
        return [entry.as_dict() for entry in await self._parts.credit.history(limit)]

    # -- jobs -------------------------------------------------------------------------------------------------

    async def _job_open(self, params: Mapping[str, Any]) -> dict[str, Any]:
        skill = _value(params, "skill", str)
        deadline_s = float(_value(params, "deadline_s", (int, float), self._parts.job_settings.deadline_s))
        if deadline_s <= 0:
            raise InputError(f"a deadline of {deadline_s:g} s has passed already; give a positive number of seconds")
        if len(self._jobs) >= JOBS_MAX:
            raise InputError(f"{JOBS_MAX} jobs are open on this node; wait for one to end")
        job_id = self._parts.randomness.token(8).hex()
        if self._nursery is None:
            raise SwarmError("the node is not ready for jobs yet")
        settings = replace(self._parts.job_settings, deadline_s=deadline_s)
        await self._nursery.start(self._hold, job_id, skill, settings)
        return {"job": job_id, "task": self._jobs[job_id].job.task}

    async def _hold(self, job_id: str, skill: str, settings: Any, *, task_status: trio.TaskStatus[None]) -> None:
        async with self._parts.jobs.open(skill, settings) as job:
            held = self._jobs[job_id] = _OpenJob(job, asked_us=self._parts.clock.monotonic_us())
            task_status.started()
            try:
                await held.closed.wait()
            finally:
                del self._jobs[job_id]

    async def _job_feed(self, params: Mapping[str, Any]) -> dict[str, Any]:
        items = _value(params, "items", list)
        if not all(isinstance(item, bytes) for item in items):
            raise InputError("job.feed: every item is a byte string")
        await self._job(params).feed(items, last=_value(params, "last", bool, False))
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
            self._jobs[_value(params, "job", str)].closed.set()
        return answer

    async def _job_cancel(self, params: Mapping[str, Any]) -> dict[str, Any]:
        self._job(params)
        self._jobs[_value(params, "job", str)].closed.set()
        return {}

    def _job(self, params: Mapping[str, Any]) -> Job:
        held = self._jobs.get(_value(params, "job", str))
        if held is None:
            raise InputError("this node has no such job: it was cancelled, or nobody asked about it for a minute")
        held.asked_us = self._parts.clock.monotonic_us()
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


def _value(params: Mapping[str, Any], name: str, kind: Any, default: Any = None) -> Any:
    value = params.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"parameter {name!r} is missing or of the wrong type")
    return value
