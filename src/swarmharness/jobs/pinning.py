"""Which model a job takes, of those that go by its skill's name: it is pinned to it, and never switches; pure.

This node's own comes first: it has the user's trust, and what others answer with it can be checked here. Else it is the
router's first choice; but where answers are to be checked, models that enough nodes serve come before it, or a fast
stranger with a model of its own would get every job, and nobody could check what it answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from swarmharness.identity import PeerId
from swarmharness.jobs.context import JobOptions
from swarmharness.routing.table import Choice


@dataclass(frozen=True, slots=True)
class Pinning:
    """What decides between models, beside the router."""

    answers: int = 1
    """So many nodes answer what is checked; 1 where nothing is."""
    trusts: Callable[[PeerId], bool] = lambda _: False
    """Whether a node is believed without a check."""

    def pick(self, choices: Sequence[Choice]) -> Choice:
        """Return the best choice of the model that a job is to take; `choices` are best first, and not empty."""
        by_model: dict[bytes, list[Choice]] = {}
        for choice in choices:
            by_model.setdefault(choice.skill.model_digest, []).append(choice)
        own = next((choice for choice in choices if choice.local), None)
        if own is not None:
            return by_model[own.skill.model_digest][0]
        return max(by_model.values(), key=self._answers_of)[0]  # the first of those that are alike

    def _answers_of(self, choices: Sequence[Choice]) -> int:
        """Return how many of the answers that a check needs these nodes can give."""
        if any(self.trusts(choice.peer_id) for choice in choices):
            return self.answers
        comparable = Counter(choice.skill.comparison_class for choice in choices)
        return min(self.answers, max(comparable.values()))


def pinning(options: JobOptions, trusts: Callable[[PeerId], bool]) -> Pinning:
    """Return what decides for a job with these options; `trusts` says whom `adaptive` believes."""
    match options.verify:
        case "adaptive":
            return Pinning(max(2, options.replicas), trusts)
        case "always":
            return Pinning(max(2, options.replicas))
        case _:
            return Pinning()
