"""Explains a decision: every candidate, each term's value, weight and contribution, and why the others lost; pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from swarmharness.routing.candidate import CandidateView, RouteRequest, Snapshot
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.utility import Term, completion_us, rank, terms, time_parts_us

REASONS_SHOWN = 3
_NEAR = 1e-6


@dataclass(frozen=True, slots=True)
class CandidateExplanation:
    """One candidate of a decision."""

    view: CandidateView
    position: int
    """From 1; 0 if it was excluded."""
    utility: float
    expected_us: int
    """When the work is expected back."""
    parts_us: dict[str, int]
    """What that time is made of, see `utility.time_parts_us`."""
    terms: tuple[Term, ...]
    reason: str
    """Why it was excluded, or what it loses by to the first; for the first, what it wins by."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A whole decision, best candidate first, excluded ones last."""

    request: RouteRequest
    policy: RoutingPolicy
    candidates: tuple[CandidateExplanation, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {
            "skill": self.request.skill,
            "model_digest": self.request.model_digest,
            "items": self.request.items,
            "input_bytes": self.request.input_bytes,
            "form": self.policy.form,
            "candidates": [_as_dict(candidate) for candidate in self.candidates],
            "note": NOTE,
        }

    def text(self) -> str:
        """Return it as lines for a person."""
        head = f"{self.request.skill}, {self.request.items} items, utility form {self.policy.form}"
        if not self.candidates:
            return f"{head}\nno node is known that could be a candidate"
        return "\n".join([head, *(_text(candidate) for candidate in self.candidates), NOTE])


NOTE = "trust: what this node learnt of each peer from results that were checked; the prior until then"


def explain(snapshot: Snapshot, policy: RoutingPolicy, request: RouteRequest) -> Explanation:
    """Return the explanation of `utility.rank` on the same arguments."""
    ranking = rank(snapshot.candidates, policy, request)
    views = {view.peer_id: view for view in snapshot.candidates}
    ranked = [(views[peer], terms(views[peer], policy, request.items, request.input_bytes)) for peer in ranking.order]
    explained = []
    for position, (view, own) in enumerate(ranked, 1):
        if position == 1:
            reason = _against(own, ranked[1][1], wins=True) if len(ranked) > 1 else "the only candidate"
        else:
            reason = _against(own, ranked[0][1], wins=False)
        explained.append(_explained(view, position, own, reason, policy, request))
    for peer, reason in ranking.excluded:
        explained.append(_explained(views[peer], 0, (), reason, policy, request))
    return Explanation(request, policy, tuple(explained))


def excluded_text(explanation: Explanation) -> str:
    """Say why those were left out that offer the skill, or the model asked for, the reason of most of them first."""
    digest = explanation.request.model_digest
    left_out = [
        one
        for one in explanation.candidates
        if not one.position and one.view.offers and digest in ("", one.view.model_digest)
    ]
    counts = Counter(one.reason for one in left_out).most_common(REASONS_SHOWN)
    texts = [f"{reason} ({count} nodes)" if count > 1 else reason for reason, count in counts]
    return "; ".join(texts) or "each is tried by another task now"


def _explained(
    view: CandidateView, position: int, own: tuple[Term, ...], reason: str, policy: RoutingPolicy, request: RouteRequest
) -> CandidateExplanation:
    utility = sum(term.contribution for term in own)
    work = request.items, request.input_bytes
    expected_us, parts_us = completion_us(view, policy, *work), time_parts_us(view, policy, *work)
    return CandidateExplanation(view, position, utility, expected_us, parts_us, own, reason)


def _against(own: tuple[Term, ...], other: tuple[Term, ...], *, wins: bool) -> str:
    """Name the term that decides between two candidates, from the first one's side."""
    sign = 1 if wins else -1
    gains = [
        (sign * (mine.contribution - theirs.contribution), mine, theirs)
        for mine, theirs in zip(own, other, strict=True)
    ]
    gain, mine, theirs = max(gains, key=lambda entry: entry[0])
    if gain < _NEAR:
        return "first by peer id among equals" if wins else "equal to the first, and later by peer id"
    verdict = "wins by" if wins else "loses by"
    rival = "the second" if wins else "the first"
    return f"{verdict} {mine.name}: {_value(mine)} against {_value(theirs)} of {rival}"


def _value(term: Term) -> str:
    return figure(term.value, term.unit)


def figure(value: float, unit: str = "") -> str:
    """Return a value with four digits, or all before the point: 12345 ms, and never 1.234e+04 ms."""
    return f"{value:.0f} {unit}".rstrip() if abs(value) >= 1000 else f"{value:.4g} {unit}".rstrip()


def _shares(own: tuple[Term, ...]) -> list[float]:
    total = sum(abs(term.contribution) for term in own)
    return [abs(term.contribution) / total if total else 0.0 for term in own]


def _as_dict(candidate: CandidateExplanation) -> dict[str, Any]:
    view = candidate.view
    return {
        "peer": view.peer_id,
        "local": view.local,
        "model_digest": view.model_digest,
        "position": candidate.position or None,
        "utility": round(candidate.utility, 6) if candidate.position else None,
        "expected_ms": candidate.expected_us / 1000,
        "parts_ms": {name: part_us / 1000 for name, part_us in candidate.parts_us.items()},
        "load": _load_text(view),
        "outstanding_items": view.outstanding_items,
        "queued_items": view.queued_items,
        "queue_age_ms": None if view.queue_age_us is None else view.queue_age_us / 1000,
        "queue_source": view.queue_source or None,
        "usual_items": view.usual_milli / 1000,
        "slots": view.slots,
        "wait_hidden_ms": view.hidden_us / 1000,
        "measured_ms": None if view.measured_us is None else view.measured_us / 1000,
        "advertised_ms": view.advertised_us / 1000,
        "round_trip_ms": None if view.round_trip_us is None else view.round_trip_us / 1000,
        "provider": view.provider,
        "loaded": view.loaded,
        "terms": [
            {
                "name": term.name,
                "value": term.value,
                "unit": term.unit,
                "weight": term.weight,
                "contribution": round(term.contribution, 6),
                "share": round(share, 4),
            }
            for term, share in zip(candidate.terms, _shares(candidate.terms), strict=True)
        ],
        "excluded": candidate.reason if not candidate.position else None,
        "reason": candidate.reason,
    }


def _load_text(view: CandidateView) -> str:
    """Say what is known of a peer's load, and how."""
    slots = f"{view.slots} slot{'s' if view.slots > 1 else ''}"
    own = f", {view.outstanding_items} of this node's" if view.outstanding_items else ""
    if view.queue_age_us is None:
        return f"load: never heard of{own}; {slots}"
    age = f"{view.queue_age_us / 1e6:.1f} s ago" + (f" ({view.queue_source})" if view.queue_source else "")
    hidden = f"; answers took {view.hidden_us / 1000:.0f} ms longer than it had said" if view.hidden_us >= 1000 else ""
    return f"load: {view.queued_items} items {age}{own}; {slots}{hidden}"


def _text(candidate: CandidateExplanation) -> str:
    view = candidate.view
    name = f"{view.peer_id}{' (this node)' if view.local else ''}"
    if not candidate.position:
        return f" -  {name}\n      excluded: {candidate.reason}"
    lines = [f"{candidate.position:2d}  {name}  utility {candidate.utility:.3f}: {candidate.reason}"]
    lines.append(f"      {_load_text(view)}")
    for term, share in zip(candidate.terms, _shares(candidate.terms), strict=True):
        lines.append(
            f"      {term.name:<16}{_value(term):>16}  x {term.weight:<6g} = {term.contribution:+9.3f}  ({share:.0%})"
        )
    return "\n".join(lines)
