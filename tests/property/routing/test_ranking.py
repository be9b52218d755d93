from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.identity import PeerId
from swarmharness.routing.candidate import CandidateView, RouteRequest, Snapshot, snapshot_from_json
from swarmharness.routing.explain import explain
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.table import Choice, SkillTable
from swarmharness.routing.utility import line, rank
from tests.property.routing.strategies import policies, snapshots, views
from tests.unit.registry.samples import offer

requests = st.builds(
    RouteRequest, skill=st.just("s"), items=st.integers(1, 1000), input_bytes=st.just(0) | st.integers(0, 2**40)
)


@given(snapshots, policies, requests, st.randoms(use_true_random=False))
def test_the_order_of_the_candidates_does_not_matter(
    snapshot: list[CandidateView], policy: RoutingPolicy, request: RouteRequest, random: Any
) -> None:
    shuffled = list(snapshot)
    random.shuffle(shuffled)
    assert rank(shuffled, policy, request) == rank(snapshot, policy, request)


@given(snapshots, policies, requests)
def test_everybody_is_ranked_or_excluded_once(
    snapshot: list[CandidateView], policy: RoutingPolicy, request: RouteRequest
) -> None:
    ranking = rank(snapshot, policy, request)
    named = [*ranking.order, *(peer for peer, _ in ranking.excluded)]
    assert sorted(named) == sorted(view.peer_id for view in snapshot)
    assert all(reason for _, reason in ranking.excluded)


@given(snapshots, policies, requests, st.text("abcdef", min_size=1, max_size=6))
def test_a_candidate_that_leaves_does_not_change_the_order_of_the_others(
    snapshot: list[CandidateView], policy: RoutingPolicy, request: RouteRequest, leaver: str
) -> None:
    order = rank(snapshot, policy, request).order
    rest = rank([view for view in snapshot if view.peer_id != leaver], policy, request).order
    assert rest == tuple(peer for peer in order if peer != leaver)


WORSE = {
    "measured_us": 1,
    "queued_items": 1,
    "outstanding_items": 1,
    "sent_since_items": 1,
    "round_trip_us": 1,
    "price_microcredits": 1,
    "trust_invalid_micro": 1,
    "trust_valid_micro": -1,
    "pheromone_micro": -1,
    "usual_milli": 1,
    "hidden_us": 1,
    "slots": -1,
    "candour_micro": -1,
    "load_us": 1,
    "missing_bytes": 1,
    "bandwidth_bytes_s": -1,
}


@given(views(st.just("p")), policies, st.integers(1, 1000), st.sampled_from(sorted(WORSE)), st.integers(0, 10**9))
def test_the_cost_is_monotone_in_every_term(
    view: CandidateView, policy: RoutingPolicy, items: int, name: str, by: int
) -> None:
    before = getattr(view, name)
    if before is None or (name in ("measured_us", "load_us") and before == 0):
        return  # unknown, for which something else is assumed
    worse = view._replace(**{name: max(0, before + WORSE[name] * by)})
    assert line(worse, policy).cost(items, 1000) >= line(view, policy).cost(items, 1000)


@given(views(st.just("p")), policies, st.integers(1, 1000), st.integers(1, 1000))
def test_more_items_never_cost_less(view: CandidateView, policy: RoutingPolicy, items: int, more: int) -> None:
    assert line(view, policy).cost(items + more) >= line(view, policy).cost(items)
    assert line(view, policy).cost(items, more) >= line(view, policy).cost(items)


@given(snapshots, policies, requests, st.integers(1, 15))
def test_the_compiled_table_decides_as_the_plain_function(
    snapshot: list[CandidateView], policy: RoutingPolicy, request: RouteRequest, limit: int
) -> None:
    choices = {view.peer_id: Choice(PeerId(view.peer_id), offer("s"), 0, False) for view in snapshot}
    table = SkillTable(choices.values())
    for view in snapshot:
        table.set_row(choices[view.peer_id], view, policy)
    order = table.order(request.items, input_bytes=request.input_bytes, limit=limit)
    assert tuple(choice.peer_id for choice in order) == rank(snapshot, policy, request).order[:limit]


@given(snapshots, policies, requests)
def test_every_decision_can_be_explained_and_written_down(
    snapshot: list[CandidateView], policy: RoutingPolicy, request: RouteRequest
) -> None:
    whole = Snapshot("s", tuple(snapshot))
    explanation = explain(whole, policy, request)
    order = [each.view.peer_id for each in explanation.candidates if each.position]
    assert tuple(order) == rank(snapshot, policy, request).order
    assert explanation.text()
    assert explanation.as_dict()
    assert snapshot_from_json(whole.to_json()) == whole
