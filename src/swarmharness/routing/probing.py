"""Decides whom to probe: about three peers beside every request, by chance, none twice at a time; pure.

Answers are kept with the peers' other accounts and serve later requests until they fade (`queue_fade_ms`): that is
the pool. A request never waits for a probe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from swarmharness.identity import PeerId
from swarmharness.registry.models import ModelKey

OWED_MAX = 48
"""Probes that may be owed to a burst of requests; beyond it the peers asked already know best."""
FLYING_MAX = 64


@dataclass(slots=True)
class ProbePlan:
    """What is owed by model, and what is under way."""

    _owed: dict[ModelKey, int] = field(default_factory=dict)
    _flying: set[tuple[PeerId, ModelKey]] = field(default_factory=set)

    def request(self, model: ModelKey, probes: int) -> None:
        """A request was sent, which pays for so many probes."""
        if probes:
            self._owed[model] = min(OWED_MAX, self._owed.get(model, 0) + probes)

    def models(self) -> tuple[ModelKey, ...]:
        """Return the models in which probes are owed."""
        return tuple(self._owed)

    def take(self, model: ModelKey, peers: Sequence[PeerId], below: Callable[[int], int]) -> list[PeerId]:
        """Return whom of `peers` to probe now; what is owed beyond that is forgotten. `below` draws a number."""
        owed = self._owed.pop(model, 0)
        free = [peer for peer in peers if (peer, model) not in self._flying]
        chosen: list[PeerId] = []
        while free and len(chosen) < owed and len(self._flying) < FLYING_MAX:
            place = below(len(free))
            chosen.append(free[place])
            self._flying.add((free[place], model))
            free[place] = free[-1]
            free.pop()
        return chosen

    def ended(self, peer_id: PeerId, model: ModelKey) -> None:
        """A probe was answered or given up."""
        self._flying.discard((peer_id, model))
