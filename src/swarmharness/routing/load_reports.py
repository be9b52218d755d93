"""Tells others of this node's load: answers probes, and gossips to those who asked it lately; it asks nobody."""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from swarmharness.errors import RefusedError, SwarmError
from swarmharness.execution.ports import Executor
from swarmharness.identity import PeerId
from swarmharness.network.ports import Request, Transport
from swarmharness.network.token_buckets import TokenBuckets
from swarmharness.ports import Clock
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import SKILLS_MAX
from swarmharness.registry.askers import Askers
from swarmharness.registry.models import ModelKey, model_key
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.load_messages import METHOD_PROBE, METHOD_TELL, Load, LoadHeard, ProbeRequest, SkillLoad
from swarmharness.routing.router import Router
from swarmharness.routing.service_times import ServiceTimes

PROBES_PER_S = 50
PROBES_BURST = 200
"""From one peer; each costs microseconds here."""
TOLD_MAX = 64
"""Requesters that hear of a change: the latest ones."""
ASKED_LATELY_US = 10_000_000
"""Five periods of gossip, and of the fading of an account: whoever asks more seldom would have forgotten it."""
TELL_TIMEOUT_S = 2.0
OFF_POLL_S = 2.0
"""While gossip is off, the policy is looked at again this often."""


class LoadReports:
    """Sets the handlers of the two methods of load; `run` gossips."""

    def __init__(self, executor: Executor, transport: Transport, router: Router, clock: Clock) -> None:
        self._executor = executor
        self._transport = transport
        self._router = router
        self._clock = clock
        self._times: dict[ModelKey, ServiceTimes] = {}
        self._requesters = Askers(ASKED_LATELY_US, TOLD_MAX)
        self._limits = TokenBuckets(per_s=PROBES_PER_S, burst=PROBES_BURST)
        self._told: tuple[SkillLoad, ...] = ()
        self._due = trio.CancelScope()
        """Passes its deadline when it is time to gossip; it has one from when something changed."""
        self.told: Callable[[PeerId, ProbeRequest], None] = lambda peer_id, request: None
        """Hears how this node stands with a requester, and must not wait."""
        transport.handle(METHOD_PROBE, self._on_probe)
        transport.handle(METHOD_TELL, self._on_tell)

    def note_served(
        self, peer_id: PeerId, model: ModelKey, *, items: int, service_us: int, elapsed_us: int, found_items: int
    ) -> None:
        """Hear that a call was answered here."""
        times = self._times.pop(model, None) or ServiceTimes()
        self._times[model] = times
        if len(self._times) > SKILLS_MAX:
            del self._times[next(iter(self._times))]
        times.add(items=items, service_us=service_us, elapsed_us=elapsed_us, found_items=found_items)
        if peer_id != self._transport.peer_id:
            self._requesters.add(peer_id, self._clock.monotonic_us())
        self._note_change()

    def load(self) -> tuple[SkillLoad, ...]:
        """Return the load of every skill."""
        found = []
        for info in self._executor.skills()[:SKILLS_MAX]:
            queued = self._executor.queued_items(info.name)
            times = self._times.get(model_key(info.name, info.model_digest))
            service_us, latency_us = (times.service_us, times.latency_us(queued)) if times else (0, 0)
            found.append(SkillLoad(info.name, queued, info.slots, service_us, latency_us))
        return tuple(found)

    def note_began(self) -> None:
        """Hear that a task was accepted here."""
        self._note_change()

    async def run(self) -> None:
        """Gossip until cancelled, `gossip_s` after something changed; whom nobody asked lately says nothing."""
        async with trio.open_nursery() as nursery:
            while True:
                with self._due:
                    await trio.sleep_forever()
                self._due = trio.CancelScope()
                if self._router.policy.gossip_s:
                    self._gossip(nursery, self._requesters.current(self._clock.monotonic_us()))

    def _note_change(self) -> None:
        if self._due.deadline == math.inf:
            self._due.deadline = trio.current_time() + (self._router.policy.gossip_s or OFF_POLL_S)

    def _gossip(self, nursery: trio.Nursery, requesters: tuple[PeerId, ...]) -> None:
        if not requesters:
            return
        load = self.load()
        if _queues(load) == _queues(self._told):
            return
        self._told = load
        payload = encode(Load(load))
        for peer_id in sorted(frozenset(self._transport.connected()).intersection(requesters)):
            nursery.start_soon(self._tell, peer_id, payload)

    async def _tell(self, peer_id: PeerId, payload: bytes) -> None:
        try:
            await self._transport.call(peer_id, METHOD_TELL, payload, timeout_s=TELL_TIMEOUT_S)
        except SwarmError:
            return  # it is gone, or of an older version; the next answer tells it

    async def _on_probe(self, request: Request) -> bytes:
        self._limit(request.peer_id)
        asked = decode(ProbeRequest, request.payload)
        wanted = asked.skill
        if asked.why:
            self.told(request.peer_id, asked)
        return encode(Load(tuple(one for one in self.load() if one.skill == wanted)))

    async def _on_tell(self, request: Request) -> bytes:
        self._limit(request.peer_id)
        for one in decode(Load, request.payload).skills:
            model = self._router.offered(request.peer_id, one.skill)
            if model is not None:  # else no decision would use it
                report = LoadReport(one.queued_items, one.slots, one.service_us, source="gossip")
                self._router.note_load(request.peer_id, model, report)
        return encode(LoadHeard())

    def _limit(self, peer_id: PeerId) -> None:
        if not self._limits.take(peer_id, 1, self._clock.monotonic_us()):
            raise RefusedError(f"more than {PROBES_PER_S} messages of load a second; ask less often")


def _queues(load: tuple[SkillLoad, ...]) -> tuple[tuple[str, int, int], ...]:
    """Return what makes an account worth telling again; of a measured time, which wobbles, only half as much is."""
    return tuple((one.skill, one.queued_items, (one.service_us * one.service_us).bit_length()) for one in load)
