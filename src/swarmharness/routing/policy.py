"""The policy of the router: every weight and constant with its meaning, default and limits; it decides nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from typing import Any

from swarmharness.errors import ConfigurationError

FORMS = ("completion", "additive")


def _key(default: Any, doc: str, least: float = 0.0, most: float = 1000.0) -> Any:
    return field(default=default, metadata={"doc": doc, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class RoutingPolicy:
    """How peers are compared. Construct it with `from_mapping` when values come from outside.

    completion: ln U = -w_time·ln(wait + service + network) + w_trust·ln(trust²) + w_pheromone·ln(pheromone)
                       + w_candour·ln(candour) - w_price·ln(price)
    additive (Eq. 1 of the paper): U = w1·capable + w2·(1 - load) + w3·(1 - latency/max) + w4·trust
    """

    form: str = field(
        default="completion",
        metadata={
            "doc": 'How a peer\'s utility is formed: "completion" predicts when the work would be done, "additive"\n'
            "is the paper's sum of capability, load, latency and trust."
        },
    )
    time_weight: float = _key(1.0, "completion: weight of ln(wait + service + network time).")
    trust_weight: float = _key(1.0, "completion: weight of ln(trust²).")
    price_weight: float = _key(0.25, "completion: weight of ln(price of an item).")
    pheromone_weight: float = _key(
        0.3, "completion: weight of ln(pheromone), which good results lay and time takes away; 1 is neutral."
    )
    candour_weight: float = _key(
        0.5, "completion: weight of ln(candour), the share of a peer's answer times that its own accounts explain."
    )
    additive_capable_weight: float = _key(0.25, "additive: weight of being able to do it (the paper's w1).")
    additive_load_weight: float = _key(0.25, "additive: weight of 1 - load (w2); load is queue / (queue + batch).")
    additive_latency_weight: float = _key(0.25, "additive: weight of 1 - round trip / latency_max_ms (w3).")
    additive_trust_weight: float = _key(0.25, "additive: weight of trust (w4).")
    latency_max_ms: float = _key(500.0, "additive: a round trip as slow as this, or slower, counts 0.", 1.0, 60_000.0)
    service_unknown_ms: float = _key(
        20.0, "Assumed time of one item on a peer that neither this node nor the peer has measured.", 0.001, 600_000.0
    )
    round_trip_unknown_ms: float = _key(
        20.0, "Assumed round trip to a peer that this node is not connected to.", 0.0, 60_000.0
    )
    smoothing: float = _key(
        0.2, "Share of the newest measurement in a peer's service time; the rest is its past.", 0.001, 1.0
    )
    report_share: float = _key(
        0.3,
        "Share of the service time that a probe or gossip reports in what is known; the rest is the past.",
        0.0,
        1.0,
    )
    queue_fade_ms: float = _key(
        2000.0,
        "Time in which a peer's account of its queue loses 63% of what sets it apart from its usual accounts.",
        1.0,
        3_600_000.0,
    )
    usual_share: float = _key(
        0.1, "Share of the newest account in a peer's usual queue; the rest is its past.", 0.0, 1.0
    )
    candour_share: float = _key(
        0.1, "Share of the newest answer in what a peer's accounts were found to hide; the rest is its past.", 0.0, 1.0
    )
    newcomer_caution: float = _key(
        2.0,
        "The time of a peer that never answered this node counts so often, so that claims draw no crowd.",
        1.0,
        1000.0,
    )
    explore_share: float = _key(
        0.02,
        "Share of decisions that prefer a peer that never answered this node, one task at a time, to get to know it.",
        0.0,
        1.0,
    )
    sample: int = _key(
        8, "Candidates of which a single request takes the best, drawn by chance; 0 takes the best of all.", 0, 65_535
    )
    probes_per_request: int = _key(3, "Peers that are asked for their load beside every request; 0: none.", 0, 16)
    probe_fresh_ms: float = _key(100.0, "A peer whose load is known as freshly as this is not asked.", 0.0, 3_600_000.0)
    probe_timeout_ms: float = _key(1000.0, "An answer to a probe that takes longer is not waited for.", 1.0, 60_000.0)
    gossip_s: float = _key(
        2.0, "A node tells those who asked lately of its load so often, if it changed; 0: never.", 0.0, 3600.0
    )
    bandwidth_unknown_mbit: float = _key(
        100.0, "Assumed bandwidth, in megabits a second, to a peer that got no large input from this node.", 0.001, 1e6
    )
    model_fetch_mbit: float = _key(
        50.0, "Assumed bandwidth, in megabits a second, at which a peer fetches a model that it lacks.", 0.001, 1e6
    )
    model_load_unknown_ms: float = _key(
        1500.0, "Assumed time of opening a model that is not in memory, where the peer does not say.", 0.0, 3_600_000.0
    )
    gpu_reserve: float = _key(
        0.15, "A peer that would use a GPU is preferred to a CPU only where it is sooner by this share.", 0.0, 1000.0
    )
    hedge_share: float = _key(0.05, "Second copies of late requests, as a share of all requests; 0: none.", 0.0, 1.0)
    hedge_late: float = _key(3.0, "A request is late when it takes so many times as long as predicted.", 1.0, 1000.0)
    hedge_least_ms: float = _key(20.0, "No request is late before this.", 0.0, 3_600_000.0)
    hedge_items_most: int = _key(
        4, "Tasks with more items get no second copy: a job's plan hands its chunks to idle peers by itself.", 1, 65_535
    )
    hedge_load_most: float = _key(
        2.0, "With more work than this under way for each slot of the swarm, no second copies are sent.", 0.0, 1000.0
    )
    trust_prior_valid: float = _key(1.0, "Valid results that every peer is credited with at first.", 0.001, 1e6)
    trust_prior_invalid: float = _key(1.0, "Invalid results that every peer is charged with at first.", 0.001, 1e6)
    trust_decay: float = _key(0.95, "Share of earlier results of a kind that counts on after another one.", 0.0, 1.0)
    pheromone_share: float = _key(
        0.1, "Share of the newest result in the pheromone of a peer and skill; the rest is its past.", 0.0, 1.0
    )
    pheromone_most: float = _key(4.0, "Pheromone stays between 1 / so much and so much.", 1.0, 1000.0)
    pheromone_half_life_s: float = _key(
        30.0, "Seconds in which half of what differs from neutral evaporates.", 0.001, 86_400.0
    )
    breaker_failures: int = _key(
        3, "Failures in a row after which a peer gets no task of a skill for a while.", 1, 1000
    )
    breaker_backoff_ms: float = _key(
        1000.0, "How long, the first time; it doubles whenever the single task after it fails too.", 1.0, 3_600_000.0
    )
    breaker_backoff_max_ms: float = _key(60_000.0, "How long at most.", 1.0, 86_400_000.0)

    def __post_init__(self) -> None:
        for declared in fields(self):
            _check(declared.name, getattr(self, declared.name), declared.metadata)
        weights = ADDITIVE_WEIGHTS if self.form == "additive" else COMPLETION_WEIGHTS
        if not any(getattr(self, name) for name in weights):
            raise ConfigurationError(
                f"all weights of the form {self.form} are 0; one of {', '.join(weights)} must not be"
            )
        if self.breaker_backoff_max_ms < self.breaker_backoff_ms:
            raise ConfigurationError("breaker_backoff_max_ms is below breaker_backoff_ms; it must be at least as long")

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> RoutingPolicy:
        """Return the policy in a TOML table; raises ConfigurationError that names the key and what is allowed.

        Keys that are left out keep their defaults.
        """
        names = [declared.name for declared in fields(cls)]
        for name in table:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(names)}"
                raise ConfigurationError(f"{name!r} is not a key of the routing policy; {hint}")
        values = dict(table)
        for declared in fields(cls):
            value = values.get(declared.name)
            if declared.type == "float" and type(value) is int:
                values[declared.name] = float(value)
            elif declared.name in values and type(value).__name__ != declared.type:
                raise ConfigurationError(f"{declared.name} must be {_kind(declared.type)}, not {value!r}")
        return cls(**values)

    def as_mapping(self) -> dict[str, Any]:
        """Return every key and its value, in order."""
        return {declared.name: getattr(self, declared.name) for declared in fields(self)}


COMPLETION_WEIGHTS = ("time_weight", "trust_weight", "price_weight", "pheromone_weight", "candour_weight")
ADDITIVE_WEIGHTS = (
    "additive_capable_weight",
    "additive_load_weight",
    "additive_latency_weight",
    "additive_trust_weight",
)


def policy_toml(policy: RoutingPolicy | None = None) -> str:
    """Return the keys of a policy as TOML lines, each under its documentation, without a table header."""
    shown = policy or RoutingPolicy()
    parts = []
    for declared in fields(shown):
        comment = "".join(f"# {line}\n" for line in str(declared.metadata["doc"]).splitlines())
        value = getattr(shown, declared.name)
        parts.append(f"{comment}# Allowed: {_allowed(declared.metadata)}.\n{declared.name} = {json.dumps(value)}\n")
    return "\n".join(parts)


def _check(name: str, value: Any, metadata: Mapping[str, Any]) -> None:
    if name == "form":
        if value not in FORMS:
            raise ConfigurationError(f"form is {value!r}; allowed is {_allowed(metadata)}")
    elif not (math.isfinite(value) and metadata["least"] <= value <= metadata["most"]):
        raise ConfigurationError(f"{name} is {value}; allowed is {_allowed(metadata)}")


def _allowed(metadata: Mapping[str, Any]) -> str:
    if "least" not in metadata:
        return " or ".join(json.dumps(form) for form in FORMS)
    return f"{metadata['least']:g} to {metadata['most']:g}"


def _kind(type_name: Any) -> str:
    return {"float": "a number", "int": "an integer", "str": "a string"}[str(type_name)]
