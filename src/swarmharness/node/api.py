"""What a running node answers to its own user: status, peers, jobs, credit; it knows nothing of sockets.

The control socket and the short-lived client of `submit --join` both call it; parameters and answers are plain
MessagePack values.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import trio

from swarmharness import __version__
from swarmharness.errors import ConfigurationError, DeadlineError, InputError, UnavailableError
from swarmharness.network.addresses import open_to_the_network, reach
from swarmharness.network.limits import Drop
from swarmharness.node.call_params import param
from swarmharness.node.credit_api import CreditApi
from swarmharness.node.disk_gate import DISK
from swarmharness.node.jobs_api import JobsApi
from swarmharness.node.owner_api import OwnerApi
from swarmharness.node.parts import NodeParts
from swarmharness.node.work import work_of
from swarmharness.registry.advert import NOT_SERVING
from swarmharness.registry.invite import TOKEN_BYTES, Invite, invite_text
from swarmharness.routing.decisions import DECISIONS_MAX
from swarmharness.routing.rows import unknown_peer_row
from swarmharness.routing.selection import find_model

T = TypeVar("T")


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
        stop: Callable[[], None],
        set_aside: Callable[[], list[dict[str, Any]]] = list,
        in_force: Callable[[], dict[str, Any]] = dict,
        connections: Callable[[], dict[str, int]] = dict,
    ) -> None:
        """`set_aside` says which damaged files lie in the data directory, `in_force` by what configuration it runs.

        `connections` says how many connections there are, by stage.
        """
        self._parts = parts
        self._terms = terms
        self._stop = stop
        self._set_aside, self._in_force, self._connections = set_aside, in_force, connections
        self._jobs = JobsApi(parts)
        self._owner = OwnerApi(parts)
        self._methods: dict[str, Callable[[Mapping[str, Any]], Awaitable[Any]]] = {
            "node.status": self._node_status,
            "node.stop": self._node_stop,
            "node.invite": self._node_invite,
            "node.config": self._node_config,
            "peers.list": self._peers_list,
            "router.explain": self._router_explain,
            "router.snapshot": self._router_snapshot,
            "router.why": self._router_why,
            **CreditApi(parts).methods,
            **self._owner.methods,
            "registry.join": self._registry_join,
            **self._jobs.methods,
        }

    @property
    def parts(self) -> NodeParts:
        """The services behind the methods, for callers in the same process."""
        return self._parts

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold open jobs until cancelled."""
        await self._jobs.run(task_status=task_status)

    async def call(self, method: str, params: Mapping[str, Any], timeout_s: float = 60.0) -> Any:
        """Answer one call; raises the SwarmError that says why not."""
        handler = self._methods.get(method)
        if handler is None:
            raise InputError(f"this node has no method {method!r}; is it of another version than the command?")
        with trio.move_on_after(timeout_s):
            return await handler(params)
        raise DeadlineError(f"{method} took longer than {timeout_s:g} s")

    # -- the node ---------------------------------------------------------------------------------------------

    async def _node_config(self, _: Mapping[str, Any]) -> dict[str, Any]:
        return {"in_force": self._in_force()}

    async def _node_status(self, _: Mapping[str, Any]) -> dict[str, Any]:
        parts, ports, owner = self._parts, self._parts.ports, await self._owner.status()
        disk_problem = ports.receipts.health.problem
        return {
            "peer_id": ports.transport.peer_id,
            "version": __version__,
            "uptime_s": (ports.clock.monotonic_us() - parts.started_us) // 1_000_000,
            "addresses": list(ports.transport.addresses),
            "listening": list(ports.transport.listening),
            "reach": reach(ports.transport.listening, ports.transport.addresses).value,
            "skills": [
                {
                    "name": skill.name,
                    "version": skill.version,
                    "provider": skill.provider,
                    "service_ms": skill.service_us / 1000,
                }
                for skill in ports.executor.skills()
            ],
            "not_offered": parts.unoffered(),
            "disk_problem": disk_problem,
            "work": work_of(parts, [*owner["reasons"], *([NOT_SERVING[DISK]] if disk_problem else [])]),
            "owner": owner,
            "set_aside": self._set_aside(),
            "tasks_running": parts.tasks.active,
            "jobs_open": len(self._jobs),
            "connections": {
                **self._connections(),
                "dropped": {str(drop): n for drop in Drop if (n := ports.refusals.counts[drop])},
            },
            "registry": parts.registry.status(),
            "verification": parts.verification.status(),
            "refused_messages": {
                str(key): n for key, n in (ports.refusals.counts + parts.credit.refused + parts.spread.refused).items()
            },
            "attacks": ports.refusals.attack_rows(ports.clock.unix_us() // 1_000_000),
            "refusals": ports.refusals.rows(ports.clock.unix_us() // 1_000_000),
        }

    async def _node_stop(self, _: Mapping[str, Any]) -> dict[str, Any]:
        self._stop()
        return {}

    async def _node_invite(self, _: Mapping[str, Any]) -> dict[str, Any]:
        ports = self._parts.ports
        addresses, listening = ports.transport.addresses, ports.transport.listening
        if not listening:
            raise ConfigurationError("this node does not listen, so nobody can join it; start it with --listen")
        if not addresses:
            raise UnavailableError(
                f"this node listens on {', '.join(listening)}, and its machine has no such address now, so nobody can "
                "join it; it announces itself again when the address is back, and follows all changes with "
                f"--listen {open_to_the_network(listening)}"
            )
        invite = Invite(
            peer_id=ports.transport.peer_id,
            addresses=addresses,
            pre_shared_key=self._terms.psk,
            credit_line_microcredits=self._terms.line_microcredits,
            token=ports.randomness.token(TOKEN_BYTES),
            expires_unix_s=0,
        )
        return {
            "invite": invite_text(invite, ports.signer),
            "addresses": list(addresses),
            "listening": list(listening),
            "reach": reach(listening, addresses).value,
        }

    async def _registry_join(self, params: Mapping[str, Any]) -> dict[str, Any]:
        outcomes = await self._parts.join([param(params, "target", str)])
        for error in outcomes.values():
            if error is not None:
                raise error
        return {"peers": list(outcomes)}

    async def _peers_list(self, _: Mapping[str, Any]) -> list[dict[str, Any]]:
        reasons = self._parts.registry.reasons
        rows = self._parts.router.peers()
        known = {row["peer"] for row in rows}
        refused = dict.fromkeys(one.peer_id for one in reasons.hidden() if one.peer_id not in known)
        rows += [unknown_peer_row(peer, reasons.of_peer(peer)) for peer in refused if peer]
        return [{**row, "clock_ahead_s": reasons.clocks.ahead_s(row["peer"])} for row in rows]

    async def _router_explain(self, params: Mapping[str, Any]) -> dict[str, Any]:
        router = self._parts.router
        model = await find_model(router, param(params, "skill", str))
        try:
            await self._parts.registry.candidates(model.skill)  # so that a skill nobody asked for yet is looked up
        except UnavailableError:
            if not router.models(model.skill):
                raise  # otherwise the explanation says of each why it cannot
        explanation = router.explain(
            model.skill,
            max(1, param(params, "items", int, 1)),
            max(0, param(params, "input_bytes", int, 0)),
            model_digest=model.digest,
        )
        return {**explanation.as_dict(), "models": [one.as_dict() for one in router.models(model.skill)]}

    async def _router_snapshot(self, params: Mapping[str, Any]) -> dict[str, Any]:
        model = await find_model(self._parts.router, param(params, "skill", str))
        await self._parts.registry.candidates(model.skill)
        return self._parts.router.snapshot(model.skill, model.digest).as_dict()

    async def _router_why(self, params: Mapping[str, Any]) -> dict[str, Any]:
        task = param(params, "task", str)
        decision = self._parts.router.decisions.of(task)
        if decision is None:
            raise InputError(
                f"no decision is remembered for the task {task!r}; a node remembers its last {DECISIONS_MAX}"
            )
        return decision.as_dict()
