"""A peer as the router sees it at one instant, and the instant as a whole; plain data that reads and writes JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

from swarmharness.errors import InputError
from swarmharness.json_text import read_json
from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.fixedpoint import EXP_SCALE, MICRO, exp_scaled
from swarmharness.routing.policy import RoutingPolicy

INTEGER_MAX = 2**60
CANDIDATES_MAX = 65_535
TEXT_CHARS_MAX = 512
USUAL_FADES = 16
"""What a peer usually reports fades so many times as slowly as a single account."""


class CandidateView(NamedTuple):
    """Everything that a decision about one peer and skill may use. Times in microseconds; None means unknown.

    A tuple, because they are made by the dozen for each decision.
    """

    peer_id: str
    local: bool = False
    offers: bool = True
    """Its advert has the skill."""
    reachable: bool = True
    """It answered when it was last needed."""
    unreachable_reason: str = ""
    not_serving: str = ""
    """Why it serves nobody but its own user now, as it says itself."""
    allowed: bool = True
    """Neither the allow list nor the deny list excludes it."""
    shunned: bool = False
    """Its answers to this skill were found wrong lately."""
    breaker: BreakerState = BreakerState.CLOSED
    model_digest: str = ""
    """In hexadecimal."""
    provider: str = ""
    loaded: bool = True
    """The model is in memory there."""
    load_us: int = 0
    """Time of opening the model there, as the peer measured it; 0: not said."""
    missing_bytes: int = 0
    """What the peer would have to fetch of the model before it could begin."""
    bandwidth_bytes_s: int | None = None
    """How fast inputs travel there, as this node measured it."""
    batch_invariant: bool = True
    batch_items_max: int = 1
    price_microcredits: int = 0
    advertised_us: int = 0
    """Time of one item, as the peer claims; 0 means that it has not measured it."""
    measured_us: int | None = None
    """Time of one item, as answers to this node showed."""
    outstanding_items: int = 0
    queued_items: int = 0
    queue_age_us: int | None = None
    queue_source: str = ""
    """Where the account of its queue came from: answer, probe, gossip or advert."""
    usual_milli: int = 0
    """Items that it usually reports, in thousandths: what an old account fades to."""
    slots: int = 1
    """Items that it works on at a time."""
    hidden_us: int = 0
    """Wait that its answers showed beyond what its accounts explain."""
    candour_micro: int = MICRO
    """Share of the time of its answers that its accounts explain, in millionths."""
    sent_since_items: int = 0
    round_trip_us: int | None = None
    trust_valid_micro: int = MICRO
    trust_invalid_micro: int = MICRO
    pheromone_micro: int = MICRO
    """Neutral is 10^6."""

    @property
    def trust_micro(self) -> int:
        """Trust in millionths, at least 1."""
        return max(1, self.trust_valid_micro * MICRO // max(1, self.trust_valid_micro + self.trust_invalid_micro))

    def service_us(self, policy: RoutingPolicy) -> int:
        """Time of one item: measured, else claimed, else assumed; at least 1."""
        known = self.measured_us if self.measured_us is not None else self.advertised_us
        return max(1, known or round(policy.service_unknown_ms * 1000))

    @property
    def is_newcomer(self) -> bool:
        """It never answered this node, so all that is known of its speed is its own claim."""
        return self.measured_us is None and not self.local

    def ahead_milli(self, policy: RoutingPolicy) -> int:
        """Items in front of ours, in thousandths: the peer's account and our sends since.

        An account fades, as it ages, to what the peer usually reports, and that much more slowly to nothing: an old
        account is as likely to be too low as too high, and a queue that is thought to have drained would call
        everybody at once. What is in front of us is never less than our own items there, of which we know.
        """
        reported = 1000 * self.queued_items
        if self.queue_age_us and (reported or self.usual_milli):
            fade_us = max(1, round(policy.queue_fade_ms * 1000))
            steps = 16 * self.queue_age_us // fade_us  # so that exponentials are remembered
            lately, ever = exp_scaled(-MICRO * steps // 16), exp_scaled(-MICRO * steps // (16 * USUAL_FADES))
            reported = (self.usual_milli * ever + (reported - self.usual_milli) * lately) // EXP_SCALE
        return max(1000 * self.outstanding_items, reported + 1000 * self.sent_since_items)

    def fades(self, policy: RoutingPolicy) -> bool:
        """Tell whether `ahead_milli` changes by time alone."""
        if not self.queued_items and not self.usual_milli:
            return False
        young = (self.queue_age_us or 0) < USUAL_FADES * max(1, round(policy.queue_fade_ms * 1000))
        return young or self.ahead_milli(policy) > 1000 * max(self.outstanding_items, self.sent_since_items)

    def promised_wait_us(self, policy: RoutingPolicy) -> int:
        """Time until one of its slots would be free, by its own account."""
        slots = max(1, self.slots)
        waiting_milli = self.ahead_milli(policy) - 1000 * (slots - 1)
        return waiting_milli * self.service_us(policy) // (1000 * slots) if waiting_milli > 0 else 0

    def wait_us(self, policy: RoutingPolicy) -> int:
        """Time until one of its slots would be free, with what its accounts were found to hide."""
        return self.promised_wait_us(policy) + self.hidden_us

    def network_us(self, policy: RoutingPolicy) -> int:
        """Time on the way, there and back; 0 for this node itself."""
        if self.local:
            return 0
        return round(policy.round_trip_unknown_ms * 1000) if self.round_trip_us is None else self.round_trip_us


_TYPE_NAMES = {name: getattr(hint, "__name__", str(hint)) for name, hint in get_type_hints(CandidateView).items()}


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What is to be done."""

    skill: str
    items: int = 1
    exclude: frozenset[str] = frozenset()
    """Peers that the caller does not want."""
    model_digest: str = ""
    """In hexadecimal; empty means any model of the skill."""
    input_bytes: int = 0
    """Of all items together."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that one decision saw: enough to make it again elsewhere."""

    skill: str
    candidates: tuple[CandidateView, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"version": 1, "skill": self.skill, "candidates": [view._asdict() for view in self.candidates]}

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return json.dumps(self.as_dict())


def snapshot_from_json(text: str) -> Snapshot:
    """Return the snapshot in a JSON text; raises InputError that names what is wrong in it."""
    try:
        value = read_json(text)
    except ValueError as error:
        raise InputError(f"the snapshot is not JSON: {error}") from None
    if not isinstance(value, dict) or value.get("version") != 1:
        raise InputError('the snapshot should be an object with "version": 1')
    skill, candidates = value.get("skill"), value.get("candidates")
    if not isinstance(skill, str) or not isinstance(candidates, list):
        raise InputError('the snapshot should have a string "skill" and a list "candidates"')
    check_text("the snapshot's skill", skill)
    if len(candidates) > CANDIDATES_MAX:
        raise InputError(f"the snapshot has {len(candidates)} candidates, allowed are {CANDIDATES_MAX}")
    views = tuple(view_from(entry, f"candidates[{index}]") for index, entry in enumerate(candidates))
    if len({view.peer_id for view in views}) != len(views):
        raise InputError("the snapshot names a peer twice")
    return Snapshot(skill, views)


def view_from(entry: Any, where: str) -> CandidateView:
    """Return the view in a JSON object; raises InputError that begins with `where`."""
    if not isinstance(entry, Mapping):
        raise InputError(f"{where} is not an object")
    for name, value in entry.items():
        if name not in _TYPE_NAMES:
            shown = ascii(name)[:64]
            raise InputError(f"{where}.{shown} is not a field of a candidate; known are {', '.join(_TYPE_NAMES)}")
        _check_field(f"{where}.{name}", _TYPE_NAMES[name], value)
    if not entry.get("peer_id"):
        raise InputError(f"{where}.peer_id is missing")
    values = dict(entry)
    if "breaker" in values:
        values["breaker"] = BreakerState(values["breaker"])
    return CandidateView(**values)


def check_text(where: str, text: str) -> None:
    """Raise InputError for a text that a terminal should not be shown, or that is longer than any of ours."""
    if len(text) > TEXT_CHARS_MAX:
        raise InputError(f"{where} has {len(text)} characters, allowed are {TEXT_CHARS_MAX}")
    if not text.isprintable():
        raise InputError(f"{where} has characters that cannot be printed")


def _check_field(where: str, type_name: str, value: Any) -> None:
    if type_name == "BreakerState":
        if value not in list(BreakerState):
            raise InputError(f"{where} is {ascii(value)[:64]}; allowed is {', '.join(BreakerState)}")
    elif value is None and type_name.endswith("| None"):
        return
    elif type(value).__name__ != type_name.split(" ")[0]:
        raise InputError(f"{where} should be of type {type_name}, not {type(value).__name__}")
    elif isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, int) and not 0 <= value <= INTEGER_MAX:
        raise InputError(f"{where} is {value}; allowed is 0 to {INTEGER_MAX}")
