"""How a requester sees the providers of a skill, in the few words that it tells them; pure."""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.explain import CandidateExplanation, Explanation, figure
from swarmharness.routing.utility import Term

CHOSEN = "chosen"
FAILING = "failing"
SHUNNED = "shunned"
EXCLUDED = "excluded"
OTHER = "other"
OTHER_MODEL = "other model"
TERMS = {
    "time": "others are expected in {best} against {expected} here",
    "trust": "others' answers earned more trust than this node's",
    "price": "others cost less",
    "pheromone": "others served that node well more often lately",
    "candour": "answers of this node took longer than its accounts of its load explained",
    "gpu reserve": "it has no GPU to spare for other work",
    CHOSEN: "this node is the first choice",
    FAILING: "this node failed several times in a row there",
    SHUNNED: "its answers were found wrong there, so it is not asked for a while",
    OTHER_MODEL: "jobs there take another model of the skill",
    EXCLUDED: "an allow or deny list there excludes this node",
}
"""What each word means, said to the provider; the first ones are the names of the terms of a utility."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one provider stands with a requester. Times are until the answer of one item; 0 for one that is not asked."""

    expected_us: int
    best_us: int
    why: str
    """One of `TERMS`: by what it loses to the best, or why it is not asked."""

    @property
    def word(self) -> str:
        """Return `why` if it is known here."""
        return self.why if self.why in TERMS else OTHER

    @property
    def text(self) -> str:
        """Say so to the provider; a word of a newer version is not shown."""
        text = TERMS.get(self.why, "others are preferred there")
        return text.format(best=figure(self.best_us / 1000, "ms"), expected=figure(self.expected_us / 1000, "ms"))


def standings(explanation: Explanation) -> dict[str, Standing]:
    """Return how each provider stands that can be told: those that answer and serve."""
    first = next((one for one in explanation.candidates if one.position == 1), None)
    found: dict[str, Standing] = {}
    for one in explanation.candidates:
        if one.view.local:
            continue
        if one.position and first is not None:
            why = CHOSEN if one is first else _loses_by(one.terms, first.terms)
            found[one.view.peer_id] = Standing(_time_us(one), _time_us(first), why)
        elif why := _exclusion(one.view, explanation.request.model_digest):
            found[one.view.peer_id] = Standing(0, 0 if first is None else _time_us(first), why)
    return found


def _time_us(one: CandidateExplanation) -> int:
    return sum(one.parts_us.values())


def _loses_by(own: tuple[Term, ...], other: tuple[Term, ...]) -> str:
    losses = [(theirs.contribution - mine.contribution, mine.name) for mine, theirs in zip(own, other, strict=True)]
    loss, name = max(losses)
    return name if loss > 0 else CHOSEN


def _exclusion(view: CandidateView, model_digest: str) -> str:
    if not view.offers or not view.reachable or view.not_serving:
        return ""
    if not view.allowed:
        return EXCLUDED
    if view.shunned:
        return SHUNNED
    if model_digest not in ("", view.model_digest):
        return OTHER_MODEL
    return "" if view.breaker is BreakerState.CLOSED else FAILING
