"""Makes trio run tasks in an order that depends on a seed alone, through two private names of it, and nothing else.

Trio wakes the waiters of an event in the order of a set, that is of memory addresses. Its deterministic mode, made for
Hypothesis, sorts each batch of runnable tasks by age before it shuffles; this module switches that on and seeds it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from swarmharness.errors import UnavailableError

_SWITCH, _GENERATOR = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r"


@contextmanager
def seeded_scheduling(seed: int) -> Iterator[None]:
    """Within the block, `trio.run` is a function of the seed; raises UnavailableError if this trio cannot do it."""
    run = trio._core._run
    generator = getattr(run, _GENERATOR, None)
    if not isinstance(generator, random.Random) or not isinstance(getattr(run, _SWITCH, None), bool):
        raise UnavailableError(
            f"trio {trio.__version__} has no deterministic scheduling under the names known here; "
            "a simulation needs another version of trio"
        )
    before, state = getattr(run, _SWITCH), generator.getstate()
    setattr(run, _SWITCH, True)
    generator.seed(seed)
    try:
        yield
    finally:
        setattr(run, _SWITCH, before)
        generator.setstate(state)
