"""The classic policies of load balancing, as routers to compare with; they ignore trust, price and weights.

They see what a requester sees: its own tasks under way, the queues that answers reported, and the times that passed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from swarmharness.identity import PeerId
from swarmharness.registry.models import ModelKey
from swarmharness.routing.estimates import Estimate, LoadReport
from swarmharness.routing.fixedpoint import EXP_SCALE, exp_scaled
from swarmharness.routing.router import CHOICES_MAX, Choice, Prediction, Router

PEAK_DECAY_US = 10_000_000
"""The time constant of peak-EWMA, as in Finagle."""


class BaselineRouter(Router):
    """Orders the peers that the router would consider by `cost`, the first of them drawn by `draw`."""

    probes = False
    hedges = False

    async def choose(
        self,
        skill: str,
        items: int = 1,
        *,
        exclude: frozenset[PeerId] = frozenset(),
        model_digest: bytes = b"",
        takes: Sequence[str] = (),
        input_bytes: int = 0,
        limit: int = CHOICES_MAX,
        explores: bool = True,
    ) -> tuple[Choice, ...]:
        """See `Router.choose`."""
        found = await super().choose(
            skill, items, exclude=exclude, model_digest=model_digest, takes=takes, explores=False
        )
        if len(found) < 2 or not explores:
            return found
        peers = sorted(found, key=lambda choice: choice.peer_id)
        first = self.pick(peers)
        return (peers[first], *peers[first + 1 :], *peers[:first])[:limit]

    def pick(self, peers: list[Choice]) -> int:
        """Return the position of the peer to ask first."""
        raise NotImplementedError

    def estimate(self, choice: Choice) -> Estimate:
        """What is known of a peer's model."""
        return self._records.get(choice.peer_id, choice.skill.model, self._policy).estimate

    def outstanding(self, choice: Choice) -> int:
        """Own items there, not answered yet."""
        return self.estimate(choice).outstanding_items

    def least(self, peers: list[Choice], cost: Callable[[Choice], int]) -> int:
        """Return the position of the least cost, ties by chance: else everyone would prefer the same names."""
        costs = [cost(choice) for choice in peers]
        best = [position for position, value in enumerate(costs) if value == min(costs)]
        return best[self._randomness.below(len(best))]

    def better_of_two(self, peers: list[Choice], cost: Callable[[Choice], int]) -> int:
        """Return the better of two that are drawn by chance."""
        one = self._randomness.below(len(peers))
        other = (one + 1 + self._randomness.below(len(peers) - 1)) % len(peers)
        return one if cost(peers[one]) <= cost(peers[other]) else other


class RandomRouter(BaselineRouter):
    """Any peer."""

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        return self._randomness.below(len(peers))


class RoundRobinRouter(BaselineRouter):
    """One after the other, by peer id, from a random start."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turn = self._randomness.below(1 << 16)

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        self._turn += 1
        return self._turn % len(peers)


class LeastOutstandingRouter(BaselineRouter):
    """Whoever has the fewest own items."""

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        return self.least(peers, self.outstanding)


class TwoChoicesRouter(BaselineRouter):
    """The shorter queue of two peers, by their own last account and our sends since (Mitzenmacher 1996)."""

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""

        def queue(choice: Choice) -> int:
            estimate = self.estimate(choice)
            return max(estimate.outstanding_items, estimate.queued_items + estimate.sent_since_items)

        return self.better_of_two(peers, queue)


@dataclass(slots=True)
class _Peak:
    elapsed_us: int
    at_us: int


class PeakEwmaRouter(BaselineRouter):
    """The better of two by latency x (own items there + 1), where latency follows peaks at once (Finagle)."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._peaks: dict[tuple[PeerId, ModelKey], _Peak] = {}

    def note_answer(
        self,
        peer_id: PeerId,
        model: ModelKey,
        *,
        items: int,
        service_us: int,
        queued_items: int,
        elapsed_us: int,
        prediction: Prediction | None = None,
        input_bytes: int = 0,
    ) -> None:
        """See `Router.note_answer`."""
        now_us = self._clock.monotonic_us()
        peak = self._peaks.setdefault((peer_id, model), _Peak(elapsed_us, now_us))
        kept = exp_scaled(-(now_us - peak.at_us) * 1_000_000 // PEAK_DECAY_US)
        faded_us = elapsed_us + (peak.elapsed_us - elapsed_us) * kept // EXP_SCALE
        peak.elapsed_us, peak.at_us = max(elapsed_us, faded_us), now_us
        super().note_answer(
            peer_id, model, items=items, service_us=service_us, queued_items=queued_items, elapsed_us=elapsed_us
        )

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""

        def cost(choice: Choice) -> int:
            peak = self._peaks.get((choice.peer_id, choice.skill.model))
            return (1 if peak is None else peak.elapsed_us) * (self.outstanding(choice) + 1)

        return self.better_of_two(peers, cost)


POOL_MOST = 16
POOL_LEAST = 2
PROBED = 3
REMOVED = 1
AGE_MOST_US = 1_000_000
HOT_PERCENT = 84
"""The quantile 2^-0.25 of requests in flight, above which a server is hot."""
RIFS_KEPT = 128
REUSE_DELTA = 1


@dataclass(slots=True)
class _Probed:
    """One answer to a probe, in the pool until it is used up, too old, or removed."""

    peer_id: PeerId
    in_flight: int
    latency_us: int
    at_us: int
    uses_left: int


class PrequalRouter(BaselineRouter):
    """Prequal (Wydrowski et al., NSDI '24): a pool of asynchronous probes, hot and cold servers.

    Three probes beside each request, to servers drawn by chance. Of the pool's servers, those whose requests in flight
    exceed a quantile of what probes lately showed are hot. The cold one with the least estimated latency is chosen, or
    if all are hot, the one with the fewest requests in flight. A probe serves about two requests, which each add
    one to its requests in flight; beside each request the oldest and the worst are removed in turn.
    """

    probes = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._pools: dict[ModelKey, list[_Probed]] = {}
        self._rifs: deque[int] = deque(maxlen=RIFS_KEPT)
        self._remove_worst = False

    def stale_peers(self, model: ModelKey, *, older_than_us: int) -> list[PeerId]:
        """See `Router.stale_peers`: any server may be probed again."""
        return super().stale_peers(model, older_than_us=0)

    def note_load(self, peer_id: PeerId, model: ModelKey, report: LoadReport) -> None:
        """See `Router.note_load`; the answer to a probe joins the pool."""
        super().note_load(peer_id, model, report)
        if report.source != "probe":
            return
        pool = self._pools.setdefault(model, [])
        self._rifs.append(report.queued_items)
        known = len(self.stale_peers(model, older_than_us=0))
        uses = self._reuses(known)
        pool[:] = [probed for probed in pool if probed.peer_id != peer_id]
        pool.append(_Probed(peer_id, report.queued_items, report.latency_us, self._clock.monotonic_us(), uses))
        if len(pool) > POOL_MOST:
            del pool[0]

    def pick(self, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        positions = {choice.peer_id: position for position, choice in enumerate(peers)}
        now_us = self._clock.monotonic_us()
        pool = self._pools.setdefault(peers[0].skill.model, [])
        pool[:] = [probed for probed in pool if now_us - probed.at_us <= AGE_MOST_US and probed.peer_id in positions]
        if len(pool) < POOL_LEAST:
            return self._randomness.below(len(peers))
        hot = self._hot()
        cold = [probed for probed in pool if probed.in_flight <= hot]
        if cold:
            best = min(cold, key=lambda probed: (probed.latency_us, probed.in_flight))
        else:
            best = min(pool, key=lambda probed: (probed.in_flight, probed.latency_us))
        best.in_flight += 1
        best.uses_left -= 1
        if best.uses_left <= 0:
            pool.remove(best)
        self._remove(pool, hot)
        return positions[best.peer_id]

    def _hot(self) -> int:
        ordered = sorted(self._rifs)
        return ordered[min(len(ordered) - 1, len(ordered) * HOT_PERCENT // 100)]

    def _remove(self, pool: list[_Probed], hot: int) -> None:
        self._remove_worst = not self._remove_worst
        if len(pool) < POOL_LEAST:
            return
        if self._remove_worst:
            above = [probed for probed in pool if probed.in_flight > hot]
            worst = max(above, key=lambda probed: probed.in_flight) if above else max(pool, key=_latency)
            pool.remove(worst)
        else:
            del pool[0]

    def _reuses(self, servers: int) -> int:
        """Return the uses of a new probe, rounded by chance: max(1, (1 + delta) / ((1 - m/n) r_probe - r_remove))."""
        rate_milli = max(0, 1000 - 1000 * POOL_MOST // max(1, servers)) * PROBED - 1000 * REMOVED
        if rate_milli <= 0:
            return POOL_MOST
        uses_milli = max(1000, 1_000_000 * (1 + REUSE_DELTA) // rate_milli)
        return uses_milli // 1000 + (self._randomness.below(1000) < uses_milli % 1000)


def _latency(probed: _Probed) -> int:
    return probed.latency_us


ROUTER_CLASSES: dict[str, type[Router]] = {
    "utility": Router,
    "random": RandomRouter,
    "round-robin": RoundRobinRouter,
    "least-outstanding": LeastOutstandingRouter,
    "two-choices": TwoChoicesRouter,
    "peak-ewma": PeakEwmaRouter,
    "prequal": PrequalRouter,
}
