"""A checker that never complains is worth nothing: each of these breaks a service and expects to hear of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from swarmharness.credit.accounts import Entry
from swarmharness.credit.writer import ChainWriter
from swarmharness.jobs.service import Job
from swarmharness.simulation import node as node_module
from swarmharness.simulation.disk import SimulatedReceiptStore
from swarmharness.simulation.simulate import simulate
from tests.unit.simulation.samples import small


def broken(seed: int = 1, extra: str = "") -> set[str]:
    return {violation.invariant for violation in simulate(small(extra), seed).violations}


def test_a_signature_that_leaves_before_it_is_on_disk_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SimulatedReceiptStore.commit
    careless: list[SimulatedReceiptStore] = []

    async def commit(self: SimulatedReceiptStore, entries: Sequence[Entry]) -> tuple[Any, ...]:
        """The first store that is asked to keep a worker's half keeps nothing at all from then on."""
        if not careless and any(entry.receipt is not None for entry in entries):
            careless.append(self)
        return () if self in careless else await kept(self, entries)

    monkeypatch.setattr(SimulatedReceiptStore, "commit", commit)
    assert "S-1" in broken()


def test_a_job_that_never_ends_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drive(self: Job) -> None:
        return None

    monkeypatch.setattr(Job, "drive", drive)
    monkeypatch.setattr("swarmharness.simulation.load.GIVE_UP_S", 1000.0)
    assert broken() == {"J-1"}


def test_an_honest_node_that_signs_two_histories_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module.SimulatedNode, "honest", property(lambda _: True))
    monkeypatch.setattr("swarmharness.simulation.adversaries.FORKED_AFTER_S", 20.0)
    forkers = (
        '\n[nodes.forkers]\ncount = 2\nrole = "forker"\nserves = ["echo"]\nspeed = 8.0\nrequests_per_hour = 2000\n'
    )
    assert "C-15" in broken(extra=forkers)


def test_a_store_that_numbers_its_chain_with_gaps_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = ChainWriter._commit

    async def skip(self: ChainWriter, group: Any) -> None:
        place = self._place
        if place is not None and place.number == 3:
            self._place = type(place)(place.incarnation, 5, place.previous)
        await numbered(self, group)

    monkeypatch.setattr(ChainWriter, "_commit", skip)
    assert "C-17" in broken()
