"""Probes the load of peers beside the requests, and tells the router; no request waits, and an idle node is silent.

What a probe brings is for the next request. It fades (`queue_fade_ms`), so a request probes only if one came lately.
"""

from __future__ import annotations

import trio

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Transport
from swarmharness.ports import Randomness
from swarmharness.protocol.codec import decode, encode
from swarmharness.registry.advert import SKILLS_MAX
from swarmharness.registry.models import ModelKey
from swarmharness.routing.estimates import LoadReport
from swarmharness.routing.load_messages import METHOD_PROBE, Load, ProbeRequest
from swarmharness.routing.probing import ProbePlan
from swarmharness.routing.router import Router

LATELY_FADES = 3
"""After so long a twentieth is left of what a probe brought: whoever asks more seldom would not use it."""


class ProbeService:
    """Follows the router's sends; `run` probes. Only peers with a live channel are asked: a probe never dials."""

    def __init__(self, router: Router, transport: Transport, randomness: Randomness) -> None:
        self._router = router
        self._transport = transport
        self._randomness = randomness
        self._plan = ProbePlan()
        self._wanted = trio.Event()
        self._sent_s: dict[ModelKey, float] = {}
        """When a task of a model was sent last."""
        self.sent = 0
        """Probes sent since the start."""
        self.answered = 0
        router.watch_sends(self._note_send)

    def _note_send(self, model: ModelKey) -> None:
        policy, now_s = self._router.policy, trio.current_time()
        before_s = self._sent_s.pop(model, None)
        self._sent_s[model] = now_s
        if len(self._sent_s) > SKILLS_MAX:
            del self._sent_s[next(iter(self._sent_s))]
        lately = before_s is not None and now_s - before_s <= LATELY_FADES * policy.queue_fade_ms / 1000
        if self._router.probes and policy.probes_per_request and lately:
            self._plan.request(model, policy.probes_per_request)
            self._wanted.set()

    async def run(self) -> None:
        """Probe until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                fresh_us = round(self._router.policy.probe_fresh_ms * 1000)
                connected = frozenset(self._transport.connected())
                for model in self._plan.models():
                    stale = self._router.stale_peers(model, older_than_us=fresh_us)
                    peers = [peer for peer in stale if peer in connected]
                    for peer_id in self._plan.take(model, peers, self._randomness.below):
                        nursery.start_soon(self._probe, peer_id, model)

    async def _probe(self, peer_id: PeerId, model: ModelKey) -> None:
        self.sent += 1
        timeout_s = self._router.policy.probe_timeout_ms / 1000
        try:
            payload = encode(ProbeRequest(model.skill))
            answer = await self._transport.call(peer_id, METHOD_PROBE, payload, timeout_s=timeout_s)
            load = decode(Load, answer)
        except SwarmError:
            return  # a peer that is gone or too busy to answer shows that with its tasks
        finally:
            self._plan.ended(peer_id, model)
        self.answered += 1
        for one in load.skills[:1]:
            if one.skill == model.skill:
                report = LoadReport(one.queued_items, one.slots, one.service_us, "probe", one.latency_us)
                self._router.note_load(peer_id, model, report)
