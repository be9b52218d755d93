"""A checker that never complains is worth nothing: each of these breaks a service and expects to hear of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import trio

from swarmharness.credit.accounts import Entry
from swarmharness.credit.books import Books
from swarmharness.credit.gate import Gate
from swarmharness.credit.ledger import Claim, Ledger
from swarmharness.credit.memory_store import MemoryReceiptStore
from swarmharness.credit.payer import Payer
from swarmharness.credit.receipt import Half, Receipt, ReceiptBody, body_digest
from swarmharness.credit.retry import Settlement
from swarmharness.credit.spread.service import SpreadService
from swarmharness.credit.spread.session import Outcome
from swarmharness.credit.terms import UnsettledTasks
from swarmharness.credit.writer import ChainWriter
from swarmharness.errors import UnavailableError
from swarmharness.identity import PeerId
from swarmharness.jobs.service import Job
from swarmharness.registry.directory import Directory
from swarmharness.simulation import audits
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
    async def drive(self: Job, _: trio.Nursery) -> None:
        return None

    monkeypatch.setattr(Job, "drive", drive)
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


def test_standings_that_do_not_add_up_to_zero_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    count = Ledger._count

    def generous(self: Ledger, claim: Claim, age: int) -> None:
        count(self, claim, age)
        self._standing[claim.worker] += 1

    monkeypatch.setattr(Ledger, "_count", generous)
    assert "C-5" in broken()


def test_books_that_forget_what_is_on_the_disk_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    received = Books.received

    def forgetful(self: Books, receipts: Iterable[Receipt]) -> None:
        received(self, [receipt for receipt in receipts if body_digest(receipt.body)[0] % 3])

    monkeypatch.setattr(Books, "received", forgetful)
    assert "S-3" in broken()


STRUCK = '\n[faults.x]\nkind = "{}"\nat_s = 60\nfor_s = 20\npercent = 100\ngroups = ["workers"]\n'


def test_a_restart_that_is_no_replay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: MemoryReceiptStore, **_: int) -> tuple[list[Claim], int]:
        return [], 0

    monkeypatch.setattr(MemoryReceiptStore, "claims_page", nothing)
    assert "S-3" in broken(extra=STRUCK.format("crash"))


def test_a_stop_that_leaves_more_held_than_was_promised_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def close(self: Gate) -> None:
        return None

    monkeypatch.setattr(Gate, "close", close)
    assert "S-3" in broken(extra=STRUCK.format("stop"))


def test_memory_without_a_limit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paid tasks are not forgotten; the limit is lowered so that the test need not wait for 32,768 of them."""
    monkeypatch.setattr(UnsettledTasks, "settled", lambda self, tasks: None)
    monkeypatch.setattr(audits, "UNSETTLED_MAX", 8)
    assert "N-4" in broken()


PEACE = "\n[expect]\nconverges_s = 60\nagrees_s = 60\n"


def test_a_node_that_never_hears_of_those_who_serve_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    holders = Directory.holders
    monkeypatch.setattr(Directory, "holders", lambda self, skill: holders(self, skill)[:1])
    assert "R-3" in broken(extra=PEACE)


def test_parties_that_never_agree_about_what_was_paid_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def lose(self: Payer, settlement: Settlement, timeout_s: float) -> Receipt:
        await exchange(self, settlement, timeout_s)
        raise UnavailableError("lost")

    async def keep(self: ChainWriter, body: ReceiptBody, other: Half) -> None:
        raise UnavailableError("lost")

    async def alone(self: SpreadService, peer: PeerId) -> Outcome:
        raise UnavailableError("not now")

    exchange = Payer._exchange
    monkeypatch.setattr(Payer, "_exchange", lose)
    monkeypatch.setattr(ChainWriter, "keep", keep)
    monkeypatch.setattr(SpreadService, "reconcile", alone)
    assert "S-4" in broken(extra=PEACE)


def test_a_service_that_ends_with_an_error_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: Books) -> bool:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Books, "_prune", fail)
    found = {one.invariant: one.text for one in simulate(small(), 1).violations}
    assert found["X-1"] == "RuntimeError: a mistake, in fail of test_checks.py"
