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
                       - w_price·ln(price)
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
        0.3, "Share of the newest measurement in a peer's service time; the rest is its past.", 0.001, 1.0
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


COMPLETION_WEIGHTS = ("time_weight", "trust_weight", "price_weight", "pheromone_weight")
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
