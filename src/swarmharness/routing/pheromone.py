"""Pheromone: how well a peer did a skill lately, beside the others; good results lay it, time takes it; pure.

1 is neutral. Every answer moves it towards how much faster it was than this node is used to for the model, every
failure and every wrong result towards the least, every verified result upwards; it evaporates towards neutral by half
in each half-life. It knows what load reports do not: a peer's experience of late, whatever the peer says.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from swarmharness.registry.models import ModelKey
from swarmharness.routing.fixedpoint import EXP_SCALE, MICRO, exp_scaled
from swarmharness.routing.policy import RoutingPolicy

MODELS_MAX = 1024
_LN2_MICRO = 693_147


@dataclass(frozen=True, slots=True)
class Pheromone:
    """A level in millionths and when it was that; the default is neutral."""

    micro: int = MICRO
    at_us: int = 0


NEUTRAL = Pheromone()


def level_micro(pheromone: Pheromone, policy: RoutingPolicy, now_us: int) -> int:
    """Return what is left of it now, in millionths, at least 1."""
    if pheromone.micro == MICRO:
        return MICRO
    half_life_us = round(policy.pheromone_half_life_s * 1e6)
    age_us = max(0, now_us - pheromone.at_us)
    kept = exp_scaled(-_LN2_MICRO * (64 * age_us // half_life_us) // 64)  # in steps, which are remembered
    return max(1, MICRO + (pheromone.micro - MICRO) * kept // EXP_SCALE)


def after_result(pheromone: Pheromone, policy: RoutingPolicy, quality_micro: int, now_us: int) -> Pheromone:
    """Return it after a result whose quality (1 is usual) is within the bounds 1 / most and most."""
    most = round(policy.pheromone_most * MICRO)
    quality = max(MICRO * MICRO // most, min(most, quality_micro))
    left = level_micro(pheromone, policy, now_us)
    return Pheromone(left + (quality - left) * round(policy.pheromone_share * MICRO) // MICRO, now_us)


@dataclass(slots=True)
class UsualTimes:
    """The smoothed time of one item of each model, from sending to answer; the oldest make room."""

    most: int = MODELS_MAX
    _usual_us: dict[ModelKey, int] = field(default_factory=dict)

    def quality_micro(self, model: ModelKey, item_us: int) -> int:
        """Return how much faster an answer came than was usual, in millionths, and count it in."""
        item_us = max(1, item_us)
        usual_us = self._usual_us.pop(model, item_us)
        self._usual_us[model] = max(1, usual_us + (item_us - usual_us) // 16)
        if len(self._usual_us) > self.most:
            del self._usual_us[next(iter(self._usual_us))]
        return usual_us * MICRO // item_us
