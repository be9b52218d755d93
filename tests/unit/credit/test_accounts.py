from __future__ import annotations

from swarmharness.credit.accounts import balance_of, history_answer, history_of
from swarmharness.credit.receipt import body_digest
from tests.unit.credit.builders import ALICE, BOB, CAROL, NOON_US, entry, receipt


def test_a_balance_adds_what_passed_both_ways_with_each_peer() -> None:
    me, bob, carol = ALICE.peer_id, BOB.peer_id, CAROL.peer_id
    balance = balance_of(me, [(me, bob, 5, 1), (bob, me, 30, 2), (carol, me, 100, 3)], half_entries=4)
    assert (balance.earned_microcredits, balance.spent_microcredits) == (130, 5)
    assert balance.as_dict() == {
        "peer_id": me,
        "earned_microcredits": 130,
        "spent_microcredits": 5,
        "net_microcredits": 125,
        "receipts": 6,
        "half_entries": 4,
        "by_peer": [
            {"peer_id": carol, "earned_microcredits": 100, "spent_microcredits": 0, "receipts": 3},
            {"peer_id": bob, "earned_microcredits": 30, "spent_microcredits": 5, "receipts": 3},
        ],
    }


def test_history_tells_each_party_its_own_side() -> None:
    made = receipt()
    for who, role, other in ((ALICE, "requester", BOB), (BOB, "worker", ALICE)):
        shown = history_answer(history_of(who.peer_id, [entry(made)]))["entries"]
        assert shown == [
            {
                "receipt": body_digest(made.body).hex(),
                "state": "receipt",
                "role": role,
                "peer_id": other.peer_id,
                "skill": "text-embedding",
                "items": 2,
                "tasks": [made.body.tasks[0].hex()],
                "epoch": made.body.epoch,
                "stored_us": NOON_US,
                "price_microcredits": 1_001,
                "share_microcredits": 1_001,
                "service_us": 500,
            }
        ]


def test_a_half_entry_is_shown_as_one() -> None:
    (shown,) = history_of(ALICE.peer_id, [entry(receipt(), worker=False)])
    assert shown.as_dict()["state"] == "half-entry"
    assert shown.entry.receipt is None
    assert entry(receipt()).receipt == receipt()
