"""Tells providers, seldom, how they stand with this node, so that they need not guess why they get no work.

Once a minute at most for a model that is in use, three connected nodes hear of it with a probe of their load; a node
that asks for nothing says nothing, and none is dialled for it.
"""

from __future__ import annotations

import trio

from swarmharness.errors import SwarmError
from swarmharness.identity import PeerId
from swarmharness.network.ports import Transport
from swarmharness.ports import Randomness
from swarmharness.protocol.codec import encode
from swarmharness.registry.advert import SKILLS_MAX
from swarmharness.registry.models import ModelKey
from swarmharness.routing.candidate import Snapshot
from swarmharness.routing.explain import explain
from swarmharness.routing.load_messages import METHOD_PROBE, ProbeRequest
from swarmharness.routing.router import Router
from swarmharness.routing.standing import Standing, standings

TOLD_MAX = 3
PERIOD_S = 60.0
TIMEOUT_S = 2.0


class StandingTeller:
    """Follows the router's sends; `run` tells."""

    def __init__(self, router: Router, transport: Transport, randomness: Randomness) -> None:
        self._router, self._transport, self._randomness = router, transport, randomness
        self._told_s: dict[ModelKey, float] = {}
        self._due: dict[ModelKey, None] = {}
        self._wanted = trio.Event()
        router.watch_sends(self._note_send)

    def _note_send(self, model: ModelKey) -> None:
        now_s = trio.current_time()
        if now_s - self._told_s.get(model, -PERIOD_S) < PERIOD_S:
            return
        self._told_s.pop(model, None)
        self._told_s[model] = now_s
        if len(self._told_s) > SKILLS_MAX:
            del self._told_s[next(iter(self._told_s))]
        self._due[model] = None
        self._wanted.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                due, self._due = self._due, {}
                for model in due:
                    self._tell(model, nursery)

    def _tell(self, model: ModelKey, nursery: trio.Nursery) -> None:
        left = [peer for peer in sorted(self._transport.connected()) if self._router.offered(peer, model.skill)]
        for _ in range(min(TOLD_MAX, len(left))):
            peer_id = left.pop(self._randomness.below(len(left)))
            decision = self._router.decision(peer_id, model, limit=1)  # of all others, only the best is looked at
            seen = explain(Snapshot(model.skill, decision.views), decision.policy, decision.request)
            standing = standings(seen).get(peer_id)
            if standing is not None:
                nursery.start_soon(self._probe, peer_id, model.skill, standing)

    async def _probe(self, peer_id: PeerId, skill: str, standing: Standing) -> None:
        request = ProbeRequest(skill, standing.expected_us, standing.best_us, standing.why)
        try:
            await self._transport.call(peer_id, METHOD_PROBE, encode(request), timeout_s=TIMEOUT_S)
        except SwarmError:
            return  # it is told the next time, if it is there
