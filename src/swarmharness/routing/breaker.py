"""The circuit breaker of one peer and skill: failures open it, time half-opens it, one task decides; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from swarmharness.routing.policy import RoutingPolicy


class BreakerState(StrEnum):
    """Whether a peer may get tasks."""

    CLOSED = "closed"
    OPEN = "open"
    """It failed too often: nothing, for a while."""
    HALF_OPEN = "half-open"
    """The while is over: one task may try."""
    TRYING = "trying"
    """That task is under way: nothing more until it ends."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is remembered; the default is closed."""

    failures: int = 0
    """In a row, while closed."""
    openings: int = 0
    """In a row."""
    open_until_us: int = 0
    trying: bool = False

    def state(self, now_us: int) -> BreakerState:
        """Return whether the peer may get tasks now."""
        if self.openings == 0:
            return BreakerState.CLOSED
        if self.trying:
            return BreakerState.TRYING
        return BreakerState.OPEN if now_us < self.open_until_us else BreakerState.HALF_OPEN


CLOSED = Breaker()


def after_send(breaker: Breaker, now_us: int) -> Breaker:
    """Return the breaker after a task was sent."""
    return replace(breaker, trying=True) if breaker.state(now_us) is BreakerState.HALF_OPEN else breaker


def after_answer() -> Breaker:
    """Return the breaker after an answer: closed, whatever it was."""
    return CLOSED


def after_give_up(breaker: Breaker) -> Breaker:
    """Return the breaker after a task ended without telling anything about the peer."""
    return replace(breaker, trying=False) if breaker.trying else breaker


def after_failure(breaker: Breaker, policy: RoutingPolicy, *, now_us: int, jitter_permille: int) -> Breaker:
    """Return the breaker after a failure; `jitter_permille` lengthens the back-off, so that peers return apart.

    Failures of tasks that were sent before it opened change nothing.
    """
    state = breaker.state(now_us)
    if state is BreakerState.OPEN:
        return breaker
    if state is BreakerState.CLOSED and breaker.failures + 1 < policy.breaker_failures:
        return replace(breaker, failures=breaker.failures + 1)
    first_us, most_us = round(policy.breaker_backoff_ms * 1000), round(policy.breaker_backoff_max_ms * 1000)
    backoff_us = min(first_us << min(breaker.openings, 32), most_us)
    return Breaker(0, breaker.openings + 1, now_us + backoff_us * (1000 + jitter_permille) // 1000)
