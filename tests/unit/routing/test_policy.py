from __future__ import annotations

import tomllib
from typing import Any

import pytest

from swarmharness.errors import ConfigurationError
from swarmharness.routing.policy import RoutingPolicy, policy_toml


def test_an_empty_table_is_the_default_policy() -> None:
    assert RoutingPolicy.from_mapping({}) == RoutingPolicy()


def test_the_documented_toml_reads_back() -> None:
    policy = RoutingPolicy(form="additive", time_weight=0.5, breaker_failures=7)
    assert RoutingPolicy.from_mapping(tomllib.loads(policy_toml(policy))) == policy
    assert RoutingPolicy.from_mapping(policy.as_mapping()) == policy


def test_every_key_is_documented() -> None:
    lines = policy_toml().splitlines()
    for name in RoutingPolicy().as_mapping():
        place = next(index for index, line in enumerate(lines) if line.startswith(f"{name} = "))
        assert lines[place - 1].startswith("# Allowed: ")
        assert lines[place - 2].startswith("# ")


def test_integers_are_accepted_where_numbers_are() -> None:
    assert RoutingPolicy.from_mapping({"trust_weight": 2}).trust_weight == 2.0


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"trust_wieght": 1}, "did you mean trust_weight"),
        ({"zzz": 1}, "known are form"),
        ({"form": "sum"}, '"completion" or "additive"'),
        ({"time_weight": -1}, "time_weight is -1.0; allowed is 0 to 1000"),
        ({"time_weight": float("nan")}, "allowed is 0 to 1000"),
        ({"time_weight": float("inf")}, "allowed is 0 to 1000"),
        ({"time_weight": "1"}, "time_weight must be a number"),
        ({"time_weight": True}, "time_weight must be a number"),
        ({"breaker_failures": 1.5}, "breaker_failures must be an integer"),
        ({"breaker_failures": 0}, "breaker_failures is 0; allowed is 1 to 1000"),
        ({"form": 3}, "form must be a string"),
        ({"smoothing": 0}, "smoothing is 0.0"),
        ({"candour_weight": float("nan")}, "candour_weight is nan; allowed is 0 to 1000"),
        ({"hedge_share": -0.1}, "hedge_share is -0.1; allowed is 0 to 1"),
        ({"probes_per_request": 17}, "probes_per_request is 17; allowed is 0 to 16"),
        ({"gossip_s": -1}, "gossip_s is -1.0; allowed is 0 to 3600"),
        ({"breaker_backoff_ms": 5000, "breaker_backoff_max_ms": 10}, "breaker_backoff_max_ms is below"),
        (
            {"time_weight": 0, "trust_weight": 0, "price_weight": 0, "pheromone_weight": 0, "candour_weight": 0},
            "all weights of the form completion are 0",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_key_and_allowed_values(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RoutingPolicy.from_mapping(table)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
