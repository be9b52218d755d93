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
from swarmharness.text_bytes import visible

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
    except BaseException as error:
        for one in _came_of(error):
            if isinstance(one, KeyboardInterrupt):
                raise one from None
            if isinstance(one, _SpentError):
                return Violation(ENDLESS, f"still busy after {time_max_s:g} s of the processor", 0, _end_us(scenario))
        cause = _cause(error)
        return Violation(STUCK, f"{type(cause).__name__}: {cause}", 0, _end_us(scenario))
    return violations[0] if violations else None


def _inner(error: BaseException) -> list[BaseException]:
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    before = error.__cause__ or error.__context__
    return [*grouped, *([before] if before else [])]


def _came_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it came of: services end with errors of their own when one is interrupted."""
    yield error
    for inner in _inner(error):
        yield from _came_of(inner)


def _cause(error: BaseException) -> BaseException:
    """Return where an error began."""
    while inner := _inner(error):
        error = inner[0]
    return error


def _end_us(scenario: Scenario) -> int:
    return round(scenario.hours * 3_600_000_000)


@contextmanager
def _bounded(time_max_s: float) -> Iterator[None]:
    def spent(_signal: int, _frame: FrameType | None) -> None:
        raise _SpentError

    before = signal.signal(signal.SIGPROF, spent)
    signal.setitimer(signal.ITIMER_PROF, time_max_s, time_max_s)  # again, should a callback swallow the first
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
    return "".join(f"# {visible(line)}\n" for line in lines) + scenario_text(shrunk.scenario)
