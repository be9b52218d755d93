"""What holds for every set of receipts, whatever their order: C-4 to C-10."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from swarmharness.credit.admission import Admitted, Doubts, Policy, decide, residual_flow
from swarmharness.credit.holds import Holds
from swarmharness.credit.ledger import Claim, Ledger, unexpired
from swarmharness.identity import PeerId

HORIZON = 20
PEERS = [PeerId(name) for name in ("ann", "ben", "cas", "dot", "eve")]


@st.composite
def claims(draw: st.DrawFn, peers: Sequence[str] = PEERS) -> Claim:
    requester, worker = draw(st.permutations(peers).map(lambda order: order[:2]))
    epoch, amount, number = draw(st.integers(0, 60)), draw(st.integers(0, 10_000)), draw(st.integers(0, 255))
    digest = f"{requester}{worker}{epoch} {amount} {number}".encode().ljust(32)[:32]
    return Claim(digest, requester, worker, epoch, amount)


def standings(ledger: Ledger) -> dict[str, int]:
    return {peer: ledger.standing(peer) for peer in PEERS}


def edges(ledger: Ledger) -> dict[tuple[str, str], int]:
    return {(one, other): ledger.work(one, other) for one in PEERS for other in PEERS}


def ledger_of(found: Sequence[Claim], epoch: int, start: int = 0) -> Ledger:
    ledger = Ledger(start, horizon_epochs=HORIZON)
    ledger.add_all(found)
    ledger.advance(epoch)
    return ledger


@given(st.lists(claims()), st.integers(0, 90))
def test_standings_are_the_sum_of_what_each_receipt_still_counts_c_5_c_7(found: list[Claim], epoch: int) -> None:
    ledger = ledger_of(found, epoch)
    expected = dict.fromkeys(PEERS, 0)
    for claim in {claim.digest: claim for claim in found}.values():
        amount = unexpired(claim.microcredits, epoch - claim.epoch, HORIZON)
        expected[PeerId(claim.worker)] += amount
        expected[PeerId(claim.requester)] -= amount
    assert standings(ledger) == expected


@given(st.lists(claims()), st.data())
def test_neither_order_nor_repetition_nor_time_of_arrival_matters_c_4_c_6(
    found: list[Claim], data: st.DataObject
) -> None:
    epoch = data.draw(st.integers(0, 90))
    other = Ledger(0, horizon_epochs=HORIZON)
    late = data.draw(st.permutations([*found, *found]))
    for claim in late:
        other.advance(other.epoch + data.draw(st.integers(0, max(0, epoch - other.epoch))))
        other.add(claim)
    other.advance(epoch)
    ledger = ledger_of(found, epoch)
    assert standings(ledger) == standings(other)
    assert edges(ledger) == edges(other)
    assert {claim.digest for claim in ledger.claims()} == {claim.digest for claim in other.claims()}


@given(st.lists(claims()), st.integers(0, 90), st.integers(0, 90))
def test_forgetting_on_the_way_changes_no_later_standing_c_8(found: list[Claim], halfway: int, later: int) -> None:
    stepwise = ledger_of(found, halfway)
    stepwise.advance(later)
    assert edges(stepwise) == edges(ledger_of(found, max(halfway, later)))


@given(st.lists(claims()), st.integers(0, 90))
def test_balances_add_up_to_zero_at_every_epoch_c_5(found: list[Claim], epoch: int) -> None:
    assert sum(ledger_of(found, epoch).standings().values()) == 0


class Market(RuleBasedStateMachine):
    """A ledger that lives: receipts arrive, time passes, the books stay balanced (C-5, C-6, C-8)."""

    @initialize()
    def open(self) -> None:
        self.ledger = Ledger(0, horizon_epochs=HORIZON)
        self.seen: list[Claim] = []

    @rule(claim=claims())
    def receive(self, claim: Claim) -> None:
        self.seen.append(claim)
        self.ledger.add(claim)

    @rule(data=st.data())
    def receive_again(self, data: st.DataObject) -> None:
        if self.seen:
            before = edges(self.ledger)
            self.ledger.add(data.draw(st.sampled_from(self.seen)))
            assert edges(self.ledger) == before

    @rule(epochs=st.integers(-2, 9))
    def pass_time(self, epochs: int) -> None:
        self.ledger.advance(self.ledger.epoch + epochs)

    @invariant()
    def the_books_are_balanced(self) -> None:
        if hasattr(self, "ledger"):
            assert sum(self.ledger.standings().values()) == 0

    @invariant()
    def a_restart_equals_what_lives(self) -> None:
        if hasattr(self, "ledger"):
            assert edges(ledger_of(self.seen, self.ledger.epoch)) == edges(self.ledger)


TestMarket = Market.TestCase
TestMarket.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def max_flow(capacity: dict[tuple[str, str], int], source: str, sink: str) -> int:
    """Over at most two edges, as a linear program would: by trying every way to cut the few paths."""
    middles = sorted({v for u, v in capacity if u == source} & {u for u, v in capacity if v == sink} - {source, sink})
    cuts = []
    for size in range(len(middles) + 1):
        for near in combinations(middles, size):
            cut = sum(capacity[source, m] if m in near else capacity[m, sink] for m in middles)
            cuts.append(cut + capacity.get((source, sink), 0))
    return min(cuts)


@given(st.lists(claims(), max_size=30))
def test_the_paths_together_are_the_maximum_flow_c_10(found: list[Claim]) -> None:
    ledger = ledger_of(found, 30)
    capacity = {pair: amount for pair, amount in edges(ledger).items() if amount}
    flow = residual_flow(ledger, Holds(HORIZON), PEERS[0], PEERS[1])
    assert flow.total == max_flow(capacity, PEERS[0], PEERS[1])


@settings(deadline=None)
@given(
    st.lists(claims(["me", "ann", "ben", "sybil"]), max_size=12),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9_000)), max_size=30),
    st.integers(0, 5_000),
)
def test_fake_identities_together_get_no_more_than_the_one_behind_them_c_11(
    found: list[Claim], fakes: int, requests: list[tuple[int, int]], budget: int
) -> None:
    """The sybil clones itself and lets its clones sign any amount of work for it and for each other."""
    me, sybil = PeerId("me"), PeerId("sybil")
    ledger = ledger_of(found, 30)
    alone = residual_flow(ledger, Holds(HORIZON), sybil, me).total
    clones = [PeerId(f"clone-{number}") for number in range(fakes)]
    everyone = [*clones, sybil]
    for number, (one, other) in enumerate((a, b) for a in everyone for b in everyone if a != b):
        ledger.add(Claim(number.to_bytes(32, "big"), other, one, 30, 10**9))
    holds, policy = Holds(HORIZON), Policy(stranger_budget_microcredits=budget, horizon_epochs=HORIZON)
    got = 0
    for who, price in requests:
        peer = everyone[who % len(everyone)]
        decision = decide(ledger, holds, policy, Doubts(), me=me, requester=peer, price_microcredits=price)
        if isinstance(decision, Admitted):
            holds.add(decision.holds)
            got += price
    assert got <= alone + budget


@given(
    st.lists(claims(["me", "ann", "ben", "cas"]), max_size=15),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5_000))),
)
def test_what_is_held_never_exceeds_an_edge_in_the_epoch_of_the_request_c_12(
    found: list[Claim], requests: list[tuple[int, int]]
) -> None:
    ledger, holds = ledger_of(found, 30), Holds(HORIZON)
    policy = Policy(stranger_budget_microcredits=700, horizon_epochs=HORIZON)
    peers = [PeerId(name) for name in ("ann", "ben", "cas")]
    for who, price in requests:
        decision = decide(
            ledger, holds, policy, Doubts(), me=PeerId("me"), requester=peers[who], price_microcredits=price
        )
        if isinstance(decision, Admitted):
            holds.add(decision.holds)
    for hold in holds:
        limit = 700 if hold.key == ("", "") else ledger.work(*hold.key)
        assert holds.held(hold.key, 30) <= limit
