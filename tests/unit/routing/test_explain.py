from __future__ import annotations

import json

import pytest

from swarmharness.routing.candidate import RouteRequest, Snapshot
from swarmharness.routing.explain import excluded_text, explain
from swarmharness.routing.policy import RoutingPolicy
from tests.unit.routing.views import view

SNAPSHOT = Snapshot(
    "ocr",
    (
        view("slow", measured_us=50_000),
        view("fast", measured_us=2_000),
        view("far", measured_us=2_000, round_trip_us=900_000),
        view("gone", reachable=False, unreachable_reason="connection refused"),
    ),
)


@pytest.mark.parametrize("form", ["completion", "additive"])
def test_every_candidate_has_a_place_and_a_reason(form: str) -> None:
    explanation = explain(SNAPSHOT, RoutingPolicy(form=form), RouteRequest("ocr"))
    assert {candidate.view.peer_id for candidate in explanation.candidates} == {"slow", "fast", "far", "gone"}
    assert [candidate.position for candidate in explanation.candidates] == [1, 2, 3, 0]
    assert all(candidate.reason for candidate in explanation.candidates)


def test_the_winner_and_the_losers_are_told_by_which_term() -> None:
    explanation = explain(SNAPSHOT, RoutingPolicy(), RouteRequest("ocr"))
    reasons = {candidate.view.peer_id: candidate.reason for candidate in explanation.candidates}
    assert reasons["fast"] == "wins by time: 3 ms against 51 ms of the second"
    assert reasons["far"] == "loses by time: 902 ms against 3 ms of the first"
    assert reasons["gone"] == "it does not answer: connection refused"


def test_who_is_left_out_is_said_with_the_reason_of_most_first() -> None:
    shunned = [view(str(number), shunned=True) for number in range(3)]
    silent = view("gone", reachable=False, unreachable_reason="connection refused")
    text = excluded_text(explain(Snapshot("ocr", (silent, *shunned)), RoutingPolicy(), RouteRequest("ocr")))
    assert text == (
        "its answers were found wrong, so it is not asked for a while (3 nodes); it does not answer: connection refused"
    )


def test_the_structured_form_is_json_with_value_weight_and_contribution() -> None:
    explained = json.loads(json.dumps(explain(SNAPSHOT, RoutingPolicy(), RouteRequest("ocr", 4)).as_dict()))
    first = explained["candidates"][0]
    assert (explained["skill"], explained["items"], explained["form"]) == ("ocr", 4, "completion")
    assert [term["name"] for term in first["terms"]] == [
        "time",
        "gpu reserve",
        "trust",
        "pheromone",
        "candour",
        "price",
    ]
    assert abs(sum(term["contribution"] for term in first["terms"]) - first["utility"]) < 1e-5
    assert abs(sum(term["share"] for term in first["terms"]) - 1) < 1e-3
    assert explained["candidates"][-1]["excluded"] == "it does not answer: connection refused"


def test_the_text_shows_every_term_and_what_trust_means() -> None:
    text = explain(SNAPSHOT, RoutingPolicy(), RouteRequest("ocr")).text()
    for part in ("fast", "time", "trust", "price", "excluded: it does not answer", "results that were checked"):
        assert part in text


def test_equals_are_told_apart_by_peer_id() -> None:
    explanation = explain(Snapshot("s", (view("b"), view("a"))), RoutingPolicy(), RouteRequest("s"))
    assert [candidate.reason for candidate in explanation.candidates] == [
        "first by peer id among equals",
        "equal to the first, and later by peer id",
    ]


def test_no_candidate_and_a_single_one_are_explained_too() -> None:
    assert "no node is known" in explain(Snapshot("s", ()), RoutingPolicy(), RouteRequest("s")).text()
    alone = explain(Snapshot("s", (view("a"),)), RoutingPolicy(), RouteRequest("s"))
    assert alone.candidates[0].reason == "the only candidate"


def test_the_load_is_told_with_its_source_its_age_and_what_it_hid() -> None:
    probed = view("p", queued_items=3, queue_age_us=1_250_000, queue_source="probe", slots=2, hidden_us=40_000)
    text = explain(Snapshot("s", (probed, view("q", outstanding_items=2))), RoutingPolicy(), RouteRequest("s")).text()
    assert "load: 3 items 1.2 s ago (probe); 2 slots; answers took 40 ms longer than it had said" in text
    assert "load: never heard of, 2 of this node's; 1 slot" in text
