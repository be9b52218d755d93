"""Makes trio run tasks in an order that depends on a seed alone, through three private names of it, and nothing else.

Trio wakes the waiters of an event in the order of a set, that is of memory addresses. Its deterministic mode, made for
Hypothesis, sorts each batch of runnable tasks by age before it shuffles; this module switches that on and seeds it.
And trio asks the kernel for events after every turn, which a simulation has none of: here it seldom does.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, MutableSequence
from contextlib import contextmanager
from typing import Any

import trio

from swarmharness.errors import UnavailableError

_SWITCH, _GENERATOR, _KERNEL = "_ALLOW_DETERMINISTIC_SCHEDULING", "_r", "TheIOManager"
_TURNS_WITHOUT_KERNEL = 256
"""It is asked now and then all the same, because Ctrl-C may come through it."""


@contextmanager
def seeded_scheduling(seed: int) -> Iterator[None]:
    """Within the block, `trio.run` is a function of the seed; raises UnavailableError if this trio cannot do it."""
    run = trio._core._run
    before, generator = getattr(run, _SWITCH, None), getattr(run, _GENERATOR, None)
    if not isinstance(generator, random.Random) or not isinstance(before, bool):
        raise UnavailableError(
            f"trio {trio.__version__} has no deterministic scheduling under the names known here; "
            "a simulation needs another version of trio"
        )
    setattr(run, _SWITCH, True)
    setattr(run, _GENERATOR, _Shuffler(seed))
    try:
        with _kernel_seldom_asked(getattr(run, _KERNEL, None)):
            yield
    finally:
        setattr(run, _SWITCH, before)
        setattr(run, _GENERATOR, generator)


class _Shuffler(random.Random):
    """Python shuffles a single task at the price of ten calls, and most turns have no more."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """See `random.Random`."""
        if len(x) > 1:
            super().shuffle(x)


@contextmanager
def _kernel_seldom_asked(manager: Any) -> Iterator[None]:
    """Answer "nothing happened" for the kernel where trio would not wait; without this a simulation is only slower."""
    original = getattr(manager, "get_events", None)
    if original is None or sys.platform == "win32":  # where an answer is a number
        yield
        return
    turns = 0

    def get_events(self: object, timeout_s: float) -> Any:
        nonlocal turns
        turns += 1
        return original(self, timeout_s) if timeout_s > 0 or turns % _TURNS_WITHOUT_KERNEL == 0 else ()

    manager.get_events = get_events
    try:
        yield
    finally:
        manager.get_events = original
