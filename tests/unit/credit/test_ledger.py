from __future__ import annotations

from swarmharness.credit.ledger import HORIZON_EPOCHS, Claim, Ledger, Outcome, claim_of, unexpired
from swarmharness.credit.receipt import body_digest
from tests.unit.credit.builders import ALICE, BOB, body


def claim(number: int, epoch: int, microcredits: int = 1_000) -> Claim:
    return Claim(number.to_bytes(32, "big"), "ann", "ben", epoch, microcredits)


def test_credit_melts_linearly_and_is_floored_c_7() -> None:
    assert [unexpired(720, age) for age in (-1, 0, 1, 360, 719, 720, 10_000)] == [0, 720, 719, 360, 1, 0, 0]
    assert unexpired(1, 1) == 0
    assert unexpired(100, 3, horizon_epochs=7) == 57


def test_a_receipt_moves_its_share_from_requester_to_worker_c_5() -> None:
    made = claim_of(body())
    assert (made.digest, made.microcredits) == (body_digest(body()), body().share_microcredits)
    ledger = Ledger(made.epoch)
    assert ledger.add(made) is Outcome.COUNTED
    assert ledger.standings() == {BOB.peer_id: 1_001, ALICE.peer_id: -1_001}
    assert ledger.work(BOB.peer_id, ALICE.peer_id) == 1_001
    assert ledger.work(ALICE.peer_id, BOB.peer_id) == 0
    assert dict(ledger.work_of(BOB.peer_id)) == {ALICE.peer_id: 1_001}


def test_a_receipt_counts_once_c_4() -> None:
    ledger = Ledger(5)
    assert [ledger.add(claim(1, 5)) for _ in range(3)] == [Outcome.COUNTED, Outcome.KNOWN, Outcome.KNOWN]
    assert ledger.standing("ben") == 1_000


def test_a_receipt_from_the_future_counts_when_it_is_due_c_9() -> None:
    ledger = Ledger(5)
    assert ledger.add(claim(1, 7)) is Outcome.NOT_YET_DUE
    assert ledger.standing("ben") == 0
    ledger.advance(6)
    assert ledger.standing("ben") == 0
    ledger.advance(7)
    assert ledger.standing("ben") == 1_000


def test_an_ancient_receipt_is_not_kept_c_8() -> None:
    ledger = Ledger(HORIZON_EPOCHS)
    assert ledger.add(claim(1, 0)) is Outcome.EXPIRED
    assert ledger.add(claim(2, 1)) is Outcome.COUNTED
    assert len(ledger) == 1
    ledger.advance(HORIZON_EPOCHS + 1)
    assert len(ledger) == 0
    assert ledger.standings() == {}


def test_a_clock_that_is_set_back_revives_nothing_c_8() -> None:
    ledger = Ledger(1_000)
    ledger.add(claim(1, 900))
    before = ledger.standing("ben")
    ledger.advance(900)
    assert (ledger.epoch, ledger.standing("ben")) == (1_000, before)


def test_what_will_be_lost_next_can_be_told() -> None:
    ledger = Ledger(10)
    ledger.add_all([claim(1, 10, 7_200), claim(2, 10, 5), claim(3, 11, 5_000)])
    assert (ledger.earned("ben"), ledger.spent("ann"), ledger.earned("ann")) == (7_205, 7_205, 0)
    assert ledger.earned("ben", epochs_ahead=1) == 7_190 + 4
    assert ledger.earned("ben", epochs_ahead=HORIZON_EPOCHS) == 0
