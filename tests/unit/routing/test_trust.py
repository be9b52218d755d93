from __future__ import annotations

from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.trust import Trust, after_invalid, after_valid, prior

POLICY = RoutingPolicy(trust_prior_valid=1, trust_prior_invalid=1, trust_decay=0.95)


def test_a_stranger_is_trusted_by_the_prior() -> None:
    assert prior(POLICY).micro == 500_000


def test_an_invalid_answer_lowers_trust_by_the_formula_of_the_design() -> None:
    once = after_invalid(prior(POLICY), POLICY)
    assert once == Trust(1_000_000, 1_950_000)
    assert once.micro == 1_000_000 * 1_000_000 // 2_950_000


def test_a_valid_one_raises_it() -> None:
    assert after_valid(prior(POLICY), POLICY).micro > 500_000


def test_trust_never_reaches_zero_however_often_a_peer_lies() -> None:
    trust = prior(RoutingPolicy(trust_prior_valid=0.001))
    for _ in range(1000):
        trust = after_invalid(trust, POLICY)
    assert trust.micro >= 1
