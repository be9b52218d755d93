"""Remembers decisions: who was considered, by which terms the chosen peer won; bounded, pure, no clock.

A `Decision` holds views, which are cheap to take; its words are formed when somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from swarmharness.routing.candidate import CandidateView, RouteRequest
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import Term, completion_us, exclusion, line, terms

SHOWN_MAX = 5
"""Candidates that a decision shows."""
DECISIONS_MAX = 1024


@dataclass(frozen=True, slots=True)
class Decision:
    """What one choice saw."""

    request: RouteRequest
    chosen: str
    views: tuple[CandidateView, ...]
    """The best candidates and the chosen one, in any order."""
    considered: int
    """How many there were in all."""
    policy: RoutingPolicy
    unix_us: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values: the candidates best first, and the terms of the chosen one and of its rival.

        The rival is the best other candidate. `chosen_position` is 0 if the chosen peer could not be chosen any more
        when the task was sent (a caller may send to whom it likes).
        """
        items = self.request.items
        ranked = sorted(
            (line(view, self.policy).cost(items), view.peer_id, view)
            for view in self.views
            if not exclusion(view, self.request)
        )
        order = [peer for _, peer, _ in ranked]
        rows = [_row(position, view, self.policy, items) for position, (_, _, view) in enumerate(ranked[:SHOWN_MAX], 1)]
        rival = next((peer for peer in order if peer != self.chosen), "")
        own = {view.peer_id: view for view in self.views if view.peer_id in (self.chosen, rival)}
        shown = {peer: terms(view, self.policy, items) for peer, view in own.items()}
        return {
            "skill": self.request.skill,
            "items": items,
            "unix_us": self.unix_us,
            "form": self.policy.form,
            "considered": self.considered,
            "chosen": self.chosen,
            "chosen_position": order.index(self.chosen) + 1 if self.chosen in order else 0,
            "candidates": rows,
            "terms": [_term(term) for term in shown.get(self.chosen, ())],
            "runner_up": rival,
            "runner_up_terms": [_term(term) for term in shown.get(rival, ())],
        }


def decision_text(decision: dict[str, Any]) -> list[str]:
    """Return a decision's plain values as lines for a person."""
    position = decision["chosen_position"]
    place = f"first of {decision['considered']}" if position == 1 else f"number {position} of {decision['considered']}"
    if not position:
        place = "left out by now"
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
        against = f", runner-up {rival['value']:.4g}: {rival['contribution']:+.4f}" if rival else ""
        value = f"{term['value']:.4g} {term['unit']}".rstrip()
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


def _row(position: int, view: CandidateView, policy: RoutingPolicy, items: int) -> dict[str, Any]:
    utility = sum(term.contribution for term in terms(view, policy, items))
    return {
        "peer": view.peer_id,
        "position": position,
        "expected_ms": completion_us(view, policy, items) / 1000,
        "utility": round(utility, 6),
    }


def _term(term: Term) -> dict[str, Any]:
    return {
        "name": term.name,
        "value": term.value,
        "unit": term.unit,
        "weight": term.weight,
        "contribution": round(term.contribution, 6),
    }
