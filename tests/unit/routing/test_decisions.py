from __future__ import annotations

from swarmharness.identity import PeerId
from swarmharness.routing.candidate import CandidateView
from swarmharness.routing.decisions import Decision, DecisionLog, decision_text
from swarmharness.routing.policy import RoutingPolicy
from tests.unit.registry.samples import offer
from tests.unit.routing.test_router import MODEL, SKILL, A, B, C, World
from tests.unit.routing.views import REQUEST, view

POLICY = RoutingPolicy()


def decision(chosen: str, *views: CandidateView, ranked: int | None = None) -> Decision:
    return Decision(REQUEST, chosen, views, len(views) if ranked is None else ranked, len(views), POLICY, 7)


def test_a_decision_names_the_chosen_peer_its_rival_and_the_terms_of_both() -> None:
    told = decision("fast", view("fast"), view("middle", measured_us=9_000), view("slow", measured_us=50_000)).as_dict()
    assert [row["peer"] for row in told["candidates"]] == ["fast", "middle", "slow"]
    assert (told["chosen"], told["chosen_position"], told["runner_up"]) == ("fast", 1, "middle")
    assert told["considered"] == 3
    assert told["unix_us"] == 7
    assert sum(term["contribution"] for term in told["terms"]) > sum(
        term["contribution"] for term in told["runner_up_terms"]
    )
    lines = decision_text(told)
    assert "first of 3" in lines[0]
    assert any("runner-up" in line for line in lines)


def test_a_caller_may_send_to_another_peer_than_the_first_and_the_rival_is_then_the_first() -> None:
    told = decision("slow", view("fast"), view("slow", measured_us=50_000)).as_dict()
    assert (told["chosen_position"], told["runner_up"]) == (2, "fast")
    assert "number 2 of 2" in decision_text(told)[0]


def test_a_peer_that_is_not_among_the_best_has_no_position_but_terms() -> None:
    told = decision("late", view("fast"), view("late", measured_us=50_000), ranked=1).as_dict()
    assert (told["chosen_position"], told["runner_up"]) == (0, "fast")
    assert told["terms"]
    assert [row["peer"] for row in told["candidates"]] == ["fast"]
    assert "not among the first" in decision_text(told)[0]


def test_the_additive_form_has_an_expected_time_too() -> None:
    told = Decision(REQUEST, "a", (view("a"),), 1, 1, RoutingPolicy(form="additive"), 7).as_dict()
    assert told["candidates"][0]["expected_ms"] > 0


def test_a_decision_that_saw_nobody_is_told_all_the_same() -> None:
    told = decision("a").as_dict()
    assert (told["candidates"], told["terms"], told["runner_up"]) == ([], [], "")


def test_the_log_keeps_the_last_decisions_and_forgets_the_oldest() -> None:
    log = DecisionLog(most=2)
    for key in ("one", "two", "one", "three"):
        log.remember(key, decision(key))
    assert log.of("two") is None
    kept = log.of("one")
    assert kept is not None
    assert kept.chosen == "one"
    assert len(log) == 2


async def test_the_router_tells_why_a_peer_got_a_task() -> None:
    world = World()
    assert world.router.decision(A, MODEL).as_dict()["considered"] == 0  # nobody has asked for the skill yet
    world.adverts.publish({A: offer(service_us=9_000), B: offer(service_us=5_000), C: offer(service_us=7_000)})
    first = (await world.router.choose(SKILL, 4))[0]
    told = world.router.decision(first.peer_id, MODEL, 4).as_dict()
    assert (told["chosen"], told["chosen_position"], told["runner_up"]) == (B, 1, C)
    assert told["considered"] == 3
    assert [row["peer"] for row in told["candidates"]] == [
        (choice.peer_id) for choice in await world.router.choose(SKILL, 4)
    ]
    assert world.router.decision(PeerId("stranger"), MODEL).as_dict()["chosen_position"] == 0
