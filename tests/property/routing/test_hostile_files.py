"""Snapshots and traces are files from anywhere: whatever is in them is read, or refused in one printable line."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from swarmharness.errors import InputError
from swarmharness.routing.candidate import RouteRequest, Snapshot, snapshot_from_json
from swarmharness.routing.explain import explain
from swarmharness.routing.policy import RoutingPolicy
from swarmharness.routing.replay import ReplaySettings, answered_tasks, recorded, replay
from swarmharness.routing.replay_model import fit
from swarmharness.routing.trace import Trace, TraceRecord, read_trace, to_line
from tests.property.routing.strategies import views

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
TEXTS = st.text(max_size=200) | ANYTHING.map(json.dumps)
SIZES = st.integers(0, 2**40) | st.integers(0, 2**60)
PEERS = ("a", "b", "c")


@st.composite
def records(draw: st.DrawFn) -> TraceRecord:
    """Any record that parses, of few peers so that they meet."""
    seen = tuple(draw(st.permutations(PEERS))[: draw(st.integers(0, 3))])
    candidates = tuple(draw(views(st.just(peer))) for peer in seen)
    return TraceRecord(
        time_us=draw(st.integers(0, 10**9) | SIZES),
        skill=draw(st.sampled_from(("s", "t"))),
        items=draw(st.integers(1, 2**20)),
        input_bytes=draw(SIZES),
        considered=draw(SIZES),
        views=candidates,
        chosen=draw(st.sampled_from(PEERS)),
        service_us=draw(st.integers(0, 10**7) | SIZES),
        queued_items=draw(st.integers(0, 100) | SIZES),
        elapsed_us=draw(st.integers(0, 10**7) | SIZES),
        error=draw(st.sampled_from(("", "", "", "lost", "cancelled"))),
    )


def refusal(error: InputError) -> None:
    assert str(error).isprintable()
    assert len(str(error)) < 2000


@given(TEXTS)
def test_any_text_is_a_snapshot_or_an_input_error(text: str) -> None:
    try:
        assert isinstance(snapshot_from_json(text), Snapshot)
    except InputError as error:
        refusal(error)


@given(st.dictionaries(st.sampled_from(("peer_id", "breaker", "measured_us", "local", "x")) | st.text(), ANYTHING))
def test_any_candidate_is_read_or_refused_and_what_is_read_can_be_ranked(entry: dict[str, Any]) -> None:
    text = json.dumps({"version": 1, "skill": "s", "candidates": [entry]})
    try:
        snapshot = snapshot_from_json(text)
    except InputError as error:
        refusal(error)
    else:
        json.dumps(explain(snapshot, RoutingPolicy(), RouteRequest("s")).as_dict())


@given(st.lists(TEXTS.map(lambda text: text + "\n"), min_size=1, max_size=3))
def test_any_lines_are_a_trace_or_an_input_error(lines: list[str]) -> None:
    try:
        read_trace(lines, "t")
    except InputError as error:
        refusal(error)


@given(st.lists(records(), min_size=1, max_size=12))
def test_records_read_back_as_they_were_written(written: list[TraceRecord]) -> None:
    found = read_trace(list(map(to_line, written)), "t").records
    assert sorted(map(repr, found)) == sorted(map(repr, written))


@given(st.lists(records(), min_size=1, max_size=12), st.integers(0, 2**63 - 1))
def test_any_trace_is_replayed_every_task_at_most_once_and_the_same_each_time(
    written: list[TraceRecord], seed: int
) -> None:
    trace = Trace(tuple(sorted(written, key=lambda record: record.time_us)))
    tasks, models, settings = answered_tasks(trace), fit(trace), ReplaySettings(seed)
    forced = replay(trace, models, None, settings, name="m")
    assert forced.items_by_peer == recorded(trace, settings).items_by_peer
    for policy in (RoutingPolicy(), RoutingPolicy(form="additive"), RoutingPolicy(price_weight=3.0)):
        outcome = replay(trace, models, policy, settings, name="p")
        assert len(outcome.latencies_us) <= outcome.tasks == len(tasks)
        assert all(latency_us >= 0 for latency_us in outcome.latencies_us)
        assert outcome == replay(trace, models, policy, settings, name="p")
        json.dumps(outcome.as_dict())
