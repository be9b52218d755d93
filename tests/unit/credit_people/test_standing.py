from __future__ import annotations

from swarmharness.credit.admission import Doubts, Policy, decide
from swarmharness.credit.holds import STRANGERS, Hold, Holds
from swarmharness.credit.ledger import Claim, Ledger
from swarmharness.credit.standing import PeerCredit, peer_credit, standing_of, standings
from tests.unit.credit.builders import ALICE, BOB, CAROL, identity

NOW = 10_000
A = 720
ME, HIM, HER = ALICE.peer_id, BOB.peer_id, CAROL.peer_id


def claim(number: int, requester: str, worker: str, microcredits: int, age: int = 0) -> Claim:
    return Claim(number.to_bytes(32, "big"), requester, worker, NOW - age, microcredits)


CLAIMS = [
    claim(1, HIM, ME, 720_000, age=700),
    claim(2, HIM, ME, 720_000, age=0),
    claim(3, ME, HER, 7_200, age=360),
    claim(4, HIM, HER, 1),
    claim(5, HIM, ME, 999, age=720),
    claim(6, HIM, ME, 999, age=-1),
]


def test_a_standing_melts_and_says_what_goes_next_c_7() -> None:
    shown = standing_of(ME, CLAIMS, NOW, A)
    assert (shown.earned_microcredits, shown.spent_microcredits) == (20_000 + 720_000, 3_600)
    assert shown.standing_microcredits == 740_000 - 3_600
    assert shown.earned_soon_microcredits == 0 + 720_000 * (A - 24) // A
    assert shown.next_expiry == (NOW + 20, 20_000)
    assert shown.receipts == 3


def test_a_standing_is_what_the_ledger_says_c_7() -> None:
    ledger = Ledger(NOW)
    ledger.add_all(CLAIMS)
    shown = standings(CLAIMS, NOW, A)
    assert {one.peer_id: one.standing_microcredits for one in shown} == ledger.standings()
    assert [one.standing_microcredits for one in shown] == sorted(ledger.standings().values(), reverse=True)
    assert sum(one.standing_microcredits for one in shown) == 0


def test_whoever_has_no_receipts_has_nothing() -> None:
    shown = standing_of(HER, [], NOW, A)
    assert (shown.standing_microcredits, shown.next_expiry, shown.receipts) == (0, None, 0)
    assert shown.as_dict()["expires_us"] is None


def credit(
    claims: list[Claim], *, policy: Policy | None = None, doubts: Doubts | None = None, holds: tuple[Hold, ...] = ()
) -> PeerCredit:
    ledger, held = Ledger(NOW), Holds()
    ledger.add_all(claims)
    held.add(holds)
    return peer_credit(ledger, held, policy or Policy(), doubts or Doubts(), me=ALICE.peer_id, peer=BOB.peer_id)


def test_what_is_available_is_what_admission_would_take_c_11() -> None:
    claims = [claim(1, ME, HIM, 500), claim(2, HER, HIM, 90), claim(3, ME, HER, 70)]
    policy = Policy(lines={BOB.peer_id: 1_000}, stranger_budget_microcredits=300)
    holds = (Hold((BOB.peer_id, ""), NOW, 400), Hold(STRANGERS, NOW, 100))
    shown = credit(claims, policy=policy, holds=holds)
    assert (shown.flow_microcredits, shown.line_left_microcredits, shown.strangers_left_microcredits) == (570, 600, 200)
    ledger, held = Ledger(NOW), Holds()
    ledger.add_all(claims)
    held.add(holds)
    for price, served in ((shown.available_microcredits, True), (shown.available_microcredits + 1, False)):
        decision = decide(
            ledger, held, policy, Doubts(), me=ALICE.peer_id, requester=BOB.peer_id, price_microcredits=price
        )
        assert hasattr(decision, "holds") is served


def test_a_banned_peer_has_nothing_and_a_renewed_one_no_flow_c_16_c_18() -> None:
    claims = [claim(1, ME, HIM, 500)]
    banned = credit(claims, doubts=Doubts(banned=frozenset({HIM})))
    assert (banned.available_microcredits, banned.banned) == (0, True)
    renewed = credit(claims, doubts=Doubts(renewed=frozenset({HIM})))
    assert (renewed.flow_microcredits, renewed.renewed) == (0, True)


def test_the_way_back_is_what_this_node_did_for_the_peer() -> None:
    shown = credit([claim(1, HIM, ME, 500)], doubts=Doubts(withholding=frozenset({HIM})))
    assert (shown.flow_microcredits, shown.flow_there_microcredits) == (0, 500)
    assert shown.withholding
    here = credit([claim(1, HIM, ME, 500)], doubts=Doubts(renewed=frozenset({ME})))
    assert (here.flow_there_microcredits, here.renewed_here) == (0, True)


def test_own_peers_are_named_as_such() -> None:
    assert credit([], policy=Policy(own=frozenset({BOB.peer_id}))).own
    assert not credit([], policy=Policy(own=frozenset({identity(9).peer_id}))).own
