"""Plays one scenario within a bound, and keeps what fails as a file that shows it again; it chooses no scenario."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from swarmharness.simulation.checks import Violation
from swarmharness.simulation.scenario import Scenario
from swarmharness.simulation.scenario_text import scenario_text
from swarmharness.simulation.shrink import Shrunk
from swarmharness.simulation.simulate import simulate

ENDLESS = "endless"
"""In place of an invariant: the simulation was still busy when its time of the processor was spent."""
STUCK = "stuck"
"""In place of an invariant: the simulation ended with an error of its own."""
PLAY_MAX_S = 60.0


class _SpentError(BaseException):
    """Not an Exception: no service may catch it."""


def play(scenario: Scenario, seed: int, *, time_max_s: float = PLAY_MAX_S) -> Violation | None:
    """Return the first violation, or None; a simulation that never ends or cannot go on is one.

    It uses the timer of the process's own time, so it must run in the main thread.
    """
    try:
        with _bounded(time_max_s):
            violations = simulate(scenario, seed).violations
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        cause = _cause(error)
        if isinstance(cause, _SpentError):
            return Violation(ENDLESS, f"still busy after {time_max_s:g} s of the processor", 0, _end_us(scenario))
        return Violation(STUCK, f"{type(cause).__name__}: {cause}", 0, _end_us(scenario))
    return violations[0] if violations else None


def _cause(error: BaseException) -> BaseException:
    """Return where an error began."""
    while True:
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
        if inner is None:
            return error
        error = inner


def _end_us(scenario: Scenario) -> int:
    return round(scenario.hours * 3_600_000_000)


@contextmanager
def _bounded(time_max_s: float) -> Iterator[None]:
    def spent(_signal: int, _frame: FrameType | None) -> None:
        raise _SpentError

    before = signal.signal(signal.SIGPROF, spent)
    signal.setitimer(signal.ITIMER_PROF, time_max_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def kept_text(shrunk: Shrunk, origin: str, commit: str) -> str:
    """Return a file that a person reads and `swarmharness simulate` plays: what failed, where it came from, and how."""
    violation = shrunk.violation
    lines = (
        f"{violation.invariant}: {violation.text}",
        f"after {violation.at_us / 1e6:g} s with --seed {shrunk.seed}, at commit {commit}",
        f"from {origin}, shrunk in {shrunk.tries} tries",
    )
    return "".join(f"# {line}\n" for line in lines) + scenario_text(shrunk.scenario)
