from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.network.budgets import STRANGER_FACTOR, Budget, Share

WHOLE, STRANGERS = 200, 90


@dataclass
class Peer:
    share: Share
    known: bool
    asked: list[int] = field(default_factory=list)
    awaited: list[int] = field(default_factory=list)

    @property
    def held(self) -> int:
        return sum(self.asked) + sum(self.awaited)


def steps() -> st.SearchStrategy[list[tuple[str, int, int]]]:
    return st.lists(
        st.tuples(st.sampled_from(["ask", "await", "return", "know"]), st.integers(0, 5), st.integers(0, 100)),
        max_size=80,
    )


@given(steps())
def test_nobody_holds_more_than_it_leaves_free_and_strangers_no_more_than_their_part(
    wishes: list[tuple[str, int, int]],
) -> None:
    budget = Budget(WHOLE, STRANGERS)
    peers = [Peer(budget.share(known=number < 2), known=number < 2) for number in range(6)]
    for what, number, size in wishes:
        peer = peers[number]
        free = WHOLE - sum(one.held for one in peers)
        strangers_free = STRANGERS - sum(sum(one.asked) for one in peers if not one.known)
        if what == "know":
            peer.share.know()
            peer.known = True
        elif what == "return":
            for held, awaited in ((peer.asked, False), (peer.awaited, True)):
                if held:
                    peer.share.give_back(held.pop(), awaited=awaited)
        else:
            awaited = what == "await"
            fits = peer.held + size <= free - size
            if not (peer.known or awaited):
                fits = fits and sum(peer.asked) + size <= STRANGER_FACTOR * (strangers_free - size)
            assert peer.share.take(size, awaited=awaited) == fits
            if fits:
                (peer.awaited if awaited else peer.asked).append(size)
        assert peer.share.held == peer.held
        assert budget.free == WHOLE - sum(one.held for one in peers) >= 0
        assert budget.strangers_free == STRANGERS - sum(sum(one.asked) for one in peers if not one.known) >= 0
    assert budget.share(known=True).take(budget.free // 2), "half of what is free is there for a newcomer"


def test_one_stranger_may_have_two_thirds_of_their_part() -> None:
    assert Budget(900, 90).share().take(60)
    assert not Budget(900, 90).share().take(61)
