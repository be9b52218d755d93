from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from swarmharness.credit.admission import Admitted, Doubts, Flow, Policy, Rank, Refused, decide, residual_flow
from swarmharness.credit.holds import STRANGERS, Hold, Holds
from swarmharness.credit.ledger import HORIZON_EPOCHS, Claim, Ledger
from swarmharness.identity import PeerId

ME, ANN, BEN, EVE = (PeerId(name) for name in ("me", "ann", "ben", "eve"))
NOW = 10_000
NO_STRANGERS = Policy(stranger_budget_microcredits=0)
_numbers = count()


def work(worker: str, requester: str, microcredits: int, epoch: int = NOW) -> Claim:
    return Claim(next(_numbers).to_bytes(32, "big"), requester, worker, epoch, microcredits)


class Node:
    """What `me` knows and has promised."""

    def __init__(self, *claims: Claim, policy: Policy = NO_STRANGERS) -> None:
        self.ledger = Ledger(NOW)
        self.ledger.add_all(claims)
        self.holds = Holds()
        self.policy = policy
        self.doubts = Doubts()

    def decide(self, requester: PeerId, price: int) -> Admitted | Refused:
        return decide(
            self.ledger, self.holds, self.policy, self.doubts, me=ME, requester=requester, price_microcredits=price
        )

    def serve(self, requester: PeerId, price: int) -> bool:
        decision = self.decide(requester, price)
        if isinstance(decision, Admitted):
            self.holds.add(decision.holds)
        return isinstance(decision, Admitted)


def test_who_worked_for_me_is_served_up_to_that_c_10() -> None:
    node = Node(work(ANN, ME, 100))
    assert node.serve(ANN, 60)
    assert not node.serve(ANN, 41)
    assert node.serve(ANN, 40)
    assert not node.serve(ANN, 1)


def test_work_for_my_partners_counts_over_two_edges_and_not_over_three_c_10() -> None:
    node = Node(work(ANN, BEN, 100), work(BEN, ME, 70), work(EVE, ANN, 999))
    assert residual_flow(node.ledger, node.holds, ANN, ME) == Flow(0, [(70, BEN)])
    assert residual_flow(node.ledger, node.holds, EVE, ME).total == 0
    assert node.serve(ANN, 70)
    assert not node.serve(BEN, 1), "what Ann drew through Ben is Ben's no more"


def test_work_that_i_did_gives_the_other_nothing_c_10() -> None:
    assert not Node(work(ME, ANN, 100)).serve(ANN, 1)


def test_capacity_returns_by_work_for_me_c_12() -> None:
    node = Node(work(ANN, ME, 100))
    assert node.serve(ANN, 100)
    node.ledger.add(work(ANN, ME, 30))
    assert not node.serve(ANN, 31)
    assert node.serve(ANN, 30)


def test_capacity_and_what_is_held_of_it_melt_together_c_12() -> None:
    node = Node(work(ANN, ME, 720))
    assert node.serve(ANN, 720)
    for epoch in range(NOW, NOW + HORIZON_EPOCHS + 2, 7):
        node.ledger.advance(epoch)
        assert not node.serve(ANN, 1)


def test_many_small_requests_return_nothing_early_c_12() -> None:
    node = Node(work(ANN, ME, 720))
    for _ in range(720):
        assert node.serve(ANN, 1)
    node.ledger.advance(NOW + 1)
    assert not node.serve(ANN, 1)


def test_strangers_share_one_budget_an_hour_however_many_they_are_c_11() -> None:
    node = Node(policy=Policy(stranger_budget_microcredits=100))
    served = sum(node.serve(PeerId(f"stranger-{number}"), 10) for number in range(50))
    assert served == 10
    node.ledger.advance(NOW + 1)
    assert node.serve(EVE, 100)
    assert not node.serve(ANN, 1)


def test_a_line_is_the_peers_own_and_melts_free_again_c_11() -> None:
    node = Node(policy=Policy(lines={ANN: 720}, stranger_budget_microcredits=0))
    assert node.serve(ANN, 720)
    assert not node.serve(ANN, 1)
    assert not node.serve(BEN, 1)
    node.ledger.advance(NOW + 360)
    assert not node.serve(ANN, 361)
    assert node.serve(ANN, 360)


def test_a_price_is_taken_from_flow_then_line_then_strangers_c_11() -> None:
    node = Node(work(ANN, ME, 50), policy=Policy(lines={ANN: 30}, stranger_budget_microcredits=20))
    decision = node.decide(ANN, 90)
    assert isinstance(decision, Admitted)
    assert decision.holds == (Hold((ANN, ME), NOW, 50), Hold((ANN, ""), NOW, 30), Hold(STRANGERS, NOW, 10))
    assert decision.rank is Rank.STRANGER


def test_own_peers_are_served_unmetered() -> None:
    node = Node(policy=Policy(own=frozenset({ANN}), stranger_budget_microcredits=0))
    decision = node.decide(ANN, 10**15)
    assert decision == Admitted(Rank.OWN, 0, ())


def test_a_refusal_says_what_is_missing_and_what_would_change_it_c_11() -> None:
    node = Node(work(ANN, ME, 5), policy=Policy(lines={ANN: 7}, stranger_budget_microcredits=8))
    refused = node.decide(ANN, 100)
    assert refused == Refused(False, 100, 5, 7, 8)
    assert isinstance(refused, Refused)
    assert refused.missing_microcredits == 80
    for word in ("80 of 100", "work for this node", "line", "next hour"):
        assert word in refused.reason
    assert list(node.holds) == [], "a refusal takes nothing"


def test_a_banned_key_is_refused_and_carries_no_flow_c_16() -> None:
    node = Node(work(ANN, ME, 100), work(BEN, ANN, 100), policy=replace(NO_STRANGERS, own=frozenset({ANN})))
    node.doubts = Doubts(banned=frozenset({ANN}))
    refused = node.decide(ANN, 1)
    assert isinstance(refused, Refused)
    assert "two histories" in refused.reason
    assert not node.serve(BEN, 1)
    assert node.ledger.standing(ANN) == 0, "balances are as they were: 100 earned, 100 spent"


def test_a_new_incarnation_is_a_stranger_c_18() -> None:
    node = Node(work(ANN, ME, 100), policy=Policy(lines={BEN: 5}, stranger_budget_microcredits=10))
    node.doubts = Doubts(renewed=frozenset({ANN, BEN}))
    assert not node.serve(ANN, 11)
    decision = node.decide(ANN, 10)
    assert isinstance(decision, Admitted)
    assert decision.rank is Rank.STRANGER
    assert node.serve(BEN, 5), "a line is the operator's word, whatever the incarnation"


@pytest.mark.parametrize("seed", range(3))
def test_the_queue_is_own_then_most_flow_then_strangers_by_age_then_who_withholds_c_13(seed: int) -> None:
    policy = Policy(own=frozenset({PeerId("own")}), lines={PeerId("line"): 50}, stranger_budget_microcredits=50)
    node = Node(work("rich", ME, 90), work("poor", ME, 10), work("sly", ME, 99), policy=policy)
    node.doubts = Doubts(withholding=frozenset({"sly"}))
    arrivals = ["first stranger", "poor", "sly", "rich", "second stranger", "own", "line"]
    order = {}
    for arrival in sorted(range(len(arrivals)), key=lambda index: (index * (seed + 3)) % 7):
        decision = node.decide(PeerId(arrivals[arrival]), 5)
        assert isinstance(decision, Admitted)
        order[arrivals[arrival]] = decision.order(arrival)
    assert sorted(order, key=order.__getitem__) == [
        *["own", "rich", "poor", "line", "first stranger", "second stranger", "sly"]
    ]


def test_forgetting_old_holds_changes_nothing() -> None:
    holds = Holds()
    holds.add(Hold(("a", "b"), epoch, 1_000) for epoch in range(0, 2_000, 100))
    before = {epoch: holds.held(("a", "b"), epoch) for epoch in range(1_500, 3_000)}
    holds.prune(1_500)
    assert {epoch: holds.held(("a", "b"), epoch) for epoch in before} == before
    assert min(hold.epoch for hold in holds) > 1_500 - HORIZON_EPOCHS
    holds.prune(10**6)
    assert list(holds) == []


def test_a_clock_that_is_set_back_frees_nothing_c_12() -> None:
    holds = Holds()
    holds.add([Hold(("a", "b"), 100, 5)])
    assert holds.held(("a", "b"), 90) == 5
