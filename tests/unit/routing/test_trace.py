from __future__ import annotations

import json
from typing import Any

import pytest

from swarmharness.errors import InputError
from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.trace import LINE_CHARS_MAX, VIEWS_MAX, read_trace, to_line
from tests.unit.routing.traces import record
from tests.unit.routing.views import view

RECORD = record(7, "b", views=(view("a", breaker=BreakerState.OPEN), view("b", measured_us=None)), error="deadline")


def test_records_read_back_from_their_lines_by_time() -> None:
    later = record(9, "a")
    trace = read_trace([to_line(later), to_line(RECORD)], "t")
    assert trace.records == (RECORD, later)
    assert not trace.torn


def test_a_line_holds_no_defaults_so_that_traces_stay_small() -> None:
    plain = json.loads(to_line(record(1, "a", views=(view("a"),))))["views"][0]
    assert set(plain) == {"peer_id", "measured_us", "round_trip_us", "batch_items_max", "price_microcredits"}


def test_a_last_line_that_was_cut_off_is_left_out_and_said() -> None:
    line = to_line(RECORD)
    for cut in range(1, len(line), 37):
        trace = read_trace([line, line[:cut]], "t")
        assert trace.records == (RECORD,)
        assert trace.torn


def changed(**change: Any) -> str:
    return json.dumps({**json.loads(to_line(RECORD)), **change}) + "\n"


def without(name: str) -> str:
    value = json.loads(to_line(RECORD))
    del value[name]
    return json.dumps(value) + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("\n", "not JSON"),
        ("[]\n", '"version": 1 or 2'),
        ("[" * 100_000 + "\n", "not JSON"),
        ("9" * 5_000 + "\n", "not JSON"),
        (changed(version=3), '"version": 1 or 2'),
        (without("elapsed_us"), "elapsed_us is missing"),
        (changed(colour=1), "'colour' is not a key"),
        (changed(time_us=-1), "time_us should be an integer"),
        (changed(time_us=1.5), "time_us should be an integer"),
        (changed(items=True), "items should be an integer"),
        (changed(items=0), "should not be empty"),
        (changed(chosen=""), "should not be empty"),
        (changed(skill="\x1b[2J"), "cannot be printed"),
        (changed(error="\ud800"), "cannot be printed"),
        (changed(views=3), "views should be a list"),
        (changed(views=[{"peer_id": f"p{n}"} for n in range(VIEWS_MAX + 1)]), "views should be a list"),
        (changed(views=[{"peer_id": "a"}, {"peer_id": "a"}]), "names a peer twice"),
        (changed(views=[{"peer_id": "a", "price_microcredits": -1}]), "views[0].price_microcredits is -1"),
        (" " * LINE_CHARS_MAX + "{}\n", "more than"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_in_one_printable_line(line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trace([to_line(RECORD), line], "t.jsonl")
    text = str(caught.value)
    assert text.startswith("t.jsonl:2: ")
    assert message in text
    assert text.isprintable()


def test_a_trace_without_a_record_is_an_input_error() -> None:
    with pytest.raises(InputError, match="no record"):
        read_trace([], "t")


def test_a_record_of_the_first_version_is_of_the_model_of_its_chosen_candidate() -> None:
    value = json.loads(to_line(RECORD))
    del value["model_digest"]
    value["version"] = 1
    for one in value["views"]:
        one["model_digest"] = "aa" * 32 if one["peer_id"] == value["chosen"] else "bb" * 32
    (read,) = read_trace([json.dumps(value) + "\n"], "t").records
    assert read.model_digest == "aa" * 32
    assert json.loads(to_line(read))["version"] == 2
