from __future__ import annotations

import random

import pytest
import trio
import trio.lowlevel

from swarmharness.errors import UnavailableError
from swarmharness.simulation.scheduling import seeded_scheduling


def _order(seed: int) -> list[int]:
    order: list[int] = []

    async def append(number: int, event: trio.Event) -> None:
        await event.wait()
        order.append(number)

    async def main() -> None:
        event = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(append, number, event)
            await trio.lowlevel.checkpoint()
            event.set()

    with seeded_scheduling(seed):
        trio.run(main)
    return order


def test_the_order_of_tasks_depends_on_the_seed_alone() -> None:
    assert _order(1) == _order(1)
    assert len({tuple(_order(seed)) for seed in range(5)}) == 5


def test_trio_still_has_the_private_names_that_this_needs() -> None:
    """The canary: when it dies, look at trio's run loop before anything else."""
    run = trio._core._run
    assert isinstance(run._r, random.Random)
    assert run._ALLOW_DETERMINISTIC_SCHEDULING in (True, False)


def test_a_trio_without_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarmharness.simulation.scheduling._GENERATOR", "_gone")
    with pytest.raises(UnavailableError, match="deterministic"), seeded_scheduling(1):
        pass


def test_what_was_switched_on_is_switched_off_again() -> None:
    run = trio._core._run
    before, state = run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()
    with seeded_scheduling(7):
        run._r.random()
    assert (run._ALLOW_DETERMINISTIC_SCHEDULING, run._r.getstate()) == (before, state)
