from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from swarmharness.credit.spread.messages import FETCH_METHOD, OPEN_METHOD, RANGES_METHOD
from swarmharness.credit.spread.settings import SpreadSettings
from swarmharness.credit.spread.strangers import REQUEST_US, StrangersBudget, cost_us
from swarmharness.identity import PeerId
from tests.unit.credit.builders import identity

PEERS = [identity(number).peer_id for number in range(6)]
SETTINGS = SpreadSettings(
    strangers_us_per_s=REQUEST_US, strangers_us_burst=REQUEST_US, strangers_waiting_max=3, stranger_waiting_max=2
)


class TrioClock:
    def monotonic_us(self) -> int:
        return round(trio.current_time() * 1e6)

    def unix_us(self) -> int:
        return 0


def budget() -> StrangersBudget:
    return StrangersBudget(SETTINGS, TrioClock())


@given(st.sampled_from([OPEN_METHOD, RANGES_METHOD, FETCH_METHOD, "another"]), st.integers(0, 2**17), st.integers(0, 9))
def test_longer_requests_cost_no_less_and_none_is_free(method: str, size_bytes: int, more: int) -> None:
    assert REQUEST_US <= cost_us(method, size_bytes) <= cost_us(method, size_bytes + more)


async def test_who_comes_above_the_budget_waits_in_turn_and_later_ones_are_refused(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    strangers, order = budget(), list[tuple[PeerId, float]]()
    began_s = trio.current_time()

    async def ask(peer: PeerId) -> None:
        assert await strangers.spend(peer, "any", 0)
        order.append((peer, round(trio.current_time() - began_s)))

    async with trio.open_nursery() as asking:
        for peer in PEERS[:5]:  # one has a turn at once, one is next, three wait
            asking.start_soon(ask, peer)
            await wait_all_tasks_blocked()
        assert not await strangers.spend(PEERS[5], "any", 0)
    assert order == [(peer, second) for second, peer in enumerate(PEERS[:5])]
    assert await strangers.spend(PEERS[5], "any", 0)


async def test_one_stranger_does_not_take_all_places_to_wait(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    strangers = budget()
    async with trio.open_nursery() as asking:
        for _ in range(3):
            asking.start_soon(strangers.spend, PEERS[0], "any", 0)
            await wait_all_tasks_blocked()
        assert not await strangers.spend(PEERS[0], "any", 0)
        assert await strangers.spend(PEERS[1], "any", 0)


async def test_who_gives_up_leaves_its_place(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    strangers = budget()
    assert await strangers.spend(PEERS[0], "any", 0)
    for _ in range(5):
        with trio.move_on_after(0.01) as gone:
            await strangers.spend(PEERS[0], "any", 0)
        assert gone.cancelled_caught
    assert await strangers.spend(PEERS[0], "any", 0)


@pytest.mark.parametrize("size_bytes", [0, 10**7])
async def test_a_request_dearer_than_the_whole_budget_is_let_in_once_it_is_full(
    size_bytes: int, autojump_clock: MockClock
) -> None:
    strangers = budget()
    assert await strangers.spend(PEERS[0], RANGES_METHOD, size_bytes)
    assert await strangers.spend(PEERS[0], RANGES_METHOD, size_bytes)
