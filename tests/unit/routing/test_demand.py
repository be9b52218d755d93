from __future__ import annotations

from typing import Any

import pytest

from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import RouteRequest, Snapshot
from swarmharness.routing.demand import LATELY_US, PEERS_MAX, SKILLS_MAX, Circumstances, Demand
from swarmharness.routing.explain import explain
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.standing import Standing, standings
from tests.unit.routing.views import view

SKILL = "echo"
AROUND = Circumstances(connected=2)
SLOWER = Standing(80_000, 12_000, "time")


def line(demand: Demand, around: Circumstances = AROUND, now_us: int = 0) -> tuple[str, str]:
    account = demand.account(SKILL, now_us, around)
    return account["state"], account["text"]


def test_a_provider_that_nobody_asked_says_so_and_whether_it_can_be_reached() -> None:
    demand = Demand()
    assert line(demand) == ("nobody asked", "nobody asked for it in the last 15 min")
    assert line(demand, Circumstances())[0] == "not reachable"
    here = "this node listens on this machine alone, see --listen"
    assert line(demand, Circumstances(connected=1, loopback_only=True))[1].endswith(here)
    demand.looked_for("a", SKILL, 0)
    assert line(demand) == ("known", "1 node looked for it, and sent nothing yet")


def test_what_requesters_say_is_told_with_their_figures() -> None:
    demand = Demand()
    demand.told("a", SKILL, SLOWER, 0)
    demand.told("b", SKILL, SLOWER, 0)
    demand.told("c", SKILL, Standing(0, 5_000, "shunned"), 0)
    assert line(demand) == ("time", "3 nodes asked: others are expected in 12 ms against 80 ms here")
    demand.told("b", SKILL, Standing(0, 0, "a word of tomorrow"), 0)
    demand.told("a", SKILL, Standing(0, 0, "\x1b[2J"), 0)
    assert line(demand) == ("other", "3 nodes asked: others are preferred there")
    assert "\x1b" not in str(demand.account(SKILL, 0, AROUND))


def test_what_explains_more_comes_first() -> None:
    demand = Demand()
    demand.told("a", SKILL, SLOWER, 0)
    demand.refused("a", SKILL, "9 of 10 micro-credits are missing", 0)
    demand.refused("b", SKILL, "its price is 7 micro-credits", 0)
    assert line(demand) == (
        "refused",
        "2 proposals refused in the last 15 min; the last: its price is 7 micro-credits",
    )
    around = Circumstances(connected=2, clock="this node's clock is 4000 s ahead")
    assert line(demand, around) == ("clock", "this node's clock is 4000 s ahead")
    demand.served("a", SKILL, 3, 0)
    demand.served("a", SKILL, 4, 1)
    assert line(demand, around) == ("works", "7 items for 1 node in the last 15 min")
    limited = Circumstances(limits=("its owner paused it",), connected=2)
    assert line(demand, limited) == ("limits", "others are not served: its owner paused it")


def test_everything_is_forgotten_after_a_quarter_of_an_hour_and_bounded() -> None:
    demand = Demand()
    for number in range(3 * PEERS_MAX):
        demand.refused(str(number), SKILL, "no", 0)
    assert demand.account(SKILL, 0, AROUND)["refused"] == PEERS_MAX
    assert line(demand, now_us=LATELY_US)[0] == "nobody asked"
    for number in range(3 * SKILLS_MAX):
        demand.looked_for("a", str(number), 0)
    assert line(demand)[0] == "nobody asked"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"measured_us": 90_000}, "time"),
        ({"trust_invalid_micro": 50_000_000}, "trust"),
        ({"price_microcredits": 10**9}, "price"),
        ({"measured_us": 4_000}, "chosen"),
        ({"shunned": True}, "shunned"),
        ({"allowed": False}, "excluded"),
        ({"breaker": BreakerState.OPEN}, "failing"),
    ],
)
def test_a_requester_says_by_what_a_provider_loses_or_why_it_is_not_asked(changes: dict[str, Any], why: str) -> None:
    policy = RoutingPolicy(price_weight=1.0)
    snapshot = Snapshot(SKILL, (view("b", local=True), view("a"), view("z", **changes)))
    told = standings(explain(snapshot, policy, RouteRequest(SKILL)))
    assert told["z"].why == why
    assert "b" not in told
    assert told["z"].text


@pytest.mark.parametrize("changes", [{"reachable": False}, {"not_serving": "paused"}, {"offers": False}])
def test_whoever_cannot_be_told_or_knows_itself_is_left_out(changes: dict[str, Any]) -> None:
    snapshot = Snapshot(SKILL, (view("a"), view("z", **changes)))
    assert list(standings(explain(snapshot, RoutingPolicy(), RouteRequest(SKILL)))) == ["a"]


def test_seconds_are_told_without_an_exponent() -> None:
    assert Standing(61_234_500, 999_960, "time").text == "others are expected in 1000 ms against 61234 ms here"
    assert Standing(12_340, 400, "time").text == "others are expected in 0.4 ms against 12.34 ms here"
