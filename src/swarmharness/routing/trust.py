"""Trust: this node's own estimate that a peer's results are right, a Beta reputation on integers; pure.

Until results are verified (a later issue) only answers that are plainly invalid change it, so most peers stay at
the prior. A peer that does not answer is less available, not less trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

from swarmharness.routing.fixedpoint import MICRO
from swarmharness.routing.policy import RoutingPolicy


@dataclass(frozen=True, slots=True)
class Trust:
    """Decayed counts of valid and invalid results, in millionths."""

    valid_micro: int
    invalid_micro: int

    @property
    def micro(self) -> int:
        """The estimate in millionths, 1 to 10^6: t = a / (a + b)."""
        return max(1, self.valid_micro * MICRO // (self.valid_micro + self.invalid_micro))


def prior(policy: RoutingPolicy) -> Trust:
    """Return what is believed of a peer without evidence."""
    return Trust(round(policy.trust_prior_valid * MICRO), round(policy.trust_prior_invalid * MICRO))


def after_valid(trust: Trust, policy: RoutingPolicy) -> Trust:
    """Return the estimate after a result that was verified: a <- γa + 1 (DESIGN §8)."""
    return Trust(_decayed(trust.valid_micro, policy) + MICRO, trust.invalid_micro)


def after_invalid(trust: Trust, policy: RoutingPolicy) -> Trust:
    """Return the estimate after a result that was wrong: b <- γb + 1 (DESIGN §8)."""
    return Trust(trust.valid_micro, _decayed(trust.invalid_micro, policy) + MICRO)


def _decayed(count_micro: int, policy: RoutingPolicy) -> int:
    return count_micro * round(policy.trust_decay * MICRO) // MICRO
