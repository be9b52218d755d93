"""Remembers decisions: who was considered, by which terms the chosen peer won; bounded, pure, no clock.

A `Decision` holds views, which are cheap to take; its words are formed when somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.explain import figure
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import Term, completion_us, terms

SHOWN_MAX = 5
"""Candidates that a decision shows."""
DECISIONS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Decision:
    """What one choice saw."""

    request: RouteRequest
    chosen: str
    views: tuple[CandidateView, ...]
    """The best candidates, best first, and after them the chosen one if it is not among them."""
    ranked: int
    """How many of the views are the best candidates."""
    considered: int
    """How many there were in all."""
    policy: RoutingPolicy
    unix_us: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values: the candidates best first, and the terms of the chosen one and of its rival.

        The rival is the best other candidate. `chosen_position` is 0 if the chosen peer was not among the best: callers
        may send to whom they like.
        """
        items, input_bytes = self.request.items, self.request.input_bytes
        best = self.views[:SHOWN_MAX]
        own = {view.peer_id: terms(view, self.policy, items, input_bytes) for view in best}
        for view in self.views[SHOWN_MAX:]:
            if view.peer_id == self.chosen:
                own[self.chosen] = terms(view, self.policy, items, input_bytes)
        order = [view.peer_id for view in self.views[: self.ranked]]
        rival = next((peer for peer in order if peer != self.chosen), "")
        rows = [
            {
                "peer": view.peer_id,
                "position": position,
                "expected_ms": _expected_ms(view, own[view.peer_id], self.policy, self.request),
                "utility": round(sum(term.contribution for term in own[view.peer_id]), 6),
            }
            for position, view in enumerate(self.views[: min(self.ranked, SHOWN_MAX)], 1)
        ]
        return {
            "skill": self.request.skill,
            "model_digest": self.request.model_digest,
            "items": items,
            "input_bytes": input_bytes,
            "unix_us": self.unix_us,
            "form": self.policy.form,
            "considered": self.considered,
            "chosen": self.chosen,
            "chosen_position": order.index(self.chosen) + 1 if self.chosen in order else 0,
            "candidates": rows,
            "terms": [_term(term) for term in own.get(self.chosen, ())],
            "runner_up": rival,
            "runner_up_terms": [_term(term) for term in own.get(rival, ())],
        }


def decision_text(decision: dict[str, Any]) -> list[str]:
    """Return a decision's plain values as lines for a person."""
    position = decision["chosen_position"]
    place = f"first of {decision['considered']}" if position == 1 else f"number {position} of {decision['considered']}"
    if not position:
        place = f"not among the first of {decision['considered']}"
    lines = [f"{decision['skill']}, {decision['items']} items: {decision['chosen']} ({place})"]
    for row in decision["candidates"]:
        mark = "*" if row["peer"] == decision["chosen"] else " "
        lines.append(
            f" {mark} {row['position']}. {row['peer']}  expected back in {row['expected_ms']:.1f} ms, "
            f"utility {row['utility']:.4f}"
        )
    theirs = {term["name"]: term for term in decision["runner_up_terms"]}
    for term in decision["terms"]:
        rival = theirs.get(term["name"])
        against = f", runner-up {figure(rival['value'])}: {rival['contribution']:+.4f}" if rival else ""
        value = figure(term["value"], term["unit"])
        lines.append(f"     {term['name']}: {value}, contributes {term['contribution']:+.4f}{against}")
    return lines


@dataclass(slots=True)
class DecisionLog:
    """The last decisions by a key of the caller's, such as the id of a task; the oldest make room."""

    most: int = DECISIONS_MAX
    _decisions: dict[str, Decision] = field(default_factory=dict)

    def remember(self, key: str, decision: Decision) -> None:
        """Keep a decision; a key that is known already gets the newer one."""
        self._decisions.pop(key, None)
        self._decisions[key] = decision
        if len(self._decisions) > self.most:
            del self._decisions[next(iter(self._decisions))]

    def of(self, key: str) -> Decision | None:
        """Return the decision behind a key, or None if it was never made or is forgotten."""
        return self._decisions.get(key)

    def __len__(self) -> int:
        return len(self._decisions)


def _expected_ms(view: CandidateView, own: tuple[Term, ...], policy: RoutingPolicy, request: RouteRequest) -> float:
    for term in own:
        if term.name == "time":
            return term.value
    return completion_us(view, policy, request.items, request.input_bytes) / 1000


def _term(term: Term) -> dict[str, Any]:
    return {
        "name": term.name,
        "value": term.value,
        "unit": term.unit,
        "weight": term.weight,
        "contribution": round(term.contribution, 6),
    }
