"""The classic policies of load balancing, as routers to compare with; they ignore trust, price and weights.

They see what a requester sees: its own tasks under way, the queues that answers reported, and the times that passed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swarmharness.identity import PeerId
from swarmharness.routing.fixedpoint import EXP_SCALE, exp_scaled
from swarmharness.routing.router import CHOICES_MAX, Choice, Prediction, Router

PEAK_DECAY_US = 10_000_000
"""The time constant of peak-EWMA, as in Finagle."""


class BaselineRouter(Router):
    """Orders the peers that the router would consider by `cost`, the first of them drawn by `draw`."""

    async def choose(
        self,
        skill: str,
        items: int = 1,
        *,
        exclude: frozenset[PeerId] = frozenset(),
        model_digest: bytes = b"",
        input_bytes: int = 0,
        limit: int = CHOICES_MAX,
    ) -> tuple[Choice, ...]:
        """See `Router.choose`."""
        found = await super().choose(skill, items, exclude=exclude, model_digest=model_digest)
        if len(found) < 2:
            return found
        peers = sorted(found, key=lambda choice: choice.peer_id)
        first = self.pick(skill, peers)
        return (peers[first], *peers[first + 1 :], *peers[:first])[:limit]

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """Return the position of the peer to ask first."""
        raise NotImplementedError

    def outstanding(self, choice: Choice, skill: str) -> int:
        """Own items there, not answered yet."""
        return self._records.get(choice.peer_id, skill, self._policy).estimate.outstanding_items

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

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        return self._randomness.below(len(peers))


class RoundRobinRouter(BaselineRouter):
    """One after the other, by peer id, from a random start."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._turn = self._randomness.below(1 << 16)

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        self._turn += 1
        return self._turn % len(peers)


class LeastOutstandingRouter(BaselineRouter):
    """Whoever has the fewest own items."""

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""
        return self.least(peers, lambda choice: self.outstanding(choice, skill))


class TwoChoicesRouter(BaselineRouter):
    """The shorter queue of two peers, by their own last account and our sends since (Mitzenmacher 1996)."""

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""

        def queue(choice: Choice) -> int:
            estimate = self._records.get(choice.peer_id, skill, self._policy).estimate
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
        self._peaks: dict[tuple[PeerId, str], _Peak] = {}

    def note_answer(
        self,
        peer_id: PeerId,
        skill: str,
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
        peak = self._peaks.setdefault((peer_id, skill), _Peak(elapsed_us, now_us))
        kept = exp_scaled(-(now_us - peak.at_us) * 1_000_000 // PEAK_DECAY_US)
        faded_us = elapsed_us + (peak.elapsed_us - elapsed_us) * kept // EXP_SCALE
        peak.elapsed_us, peak.at_us = max(elapsed_us, faded_us), now_us
        super().note_answer(
            peer_id, skill, items=items, service_us=service_us, queued_items=queued_items, elapsed_us=elapsed_us
        )

    def pick(self, skill: str, peers: list[Choice]) -> int:
        """See `BaselineRouter.pick`."""

        def cost(choice: Choice) -> int:
            peak = self._peaks.get((choice.peer_id, skill))
            return (1 if peak is None else peak.elapsed_us) * (self.outstanding(choice, skill) + 1)

        return self.better_of_two(peers, cost)


ROUTER_CLASSES: dict[str, type[Router]] = {
    "utility": Router,
    "random": RandomRouter,
    "round-robin": RoundRobinRouter,
    "least-outstanding": LeastOutstandingRouter,
    "two-choices": TwoChoicesRouter,
    "peak-ewma": PeakEwmaRouter,
}
