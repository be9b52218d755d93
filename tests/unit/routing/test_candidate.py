from __future__ import annotations

import json

import pytest

from swarmharness.errors import InputError
from swarmharness.routing.breaker import BreakerState
from swarmharness.routing.candidate import Snapshot, snapshot_from_json
from tests.unit.routing.views import view

SNAPSHOT = Snapshot("ocr", (view("a", breaker=BreakerState.HALF_OPEN), view("b", round_trip_us=None, queue_age_us=7)))


def test_a_snapshot_reads_back_from_json() -> None:
    assert snapshot_from_json(SNAPSHOT.to_json()) == SNAPSHOT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peer_id": ""}, "candidates[0].peer_id is missing"),
        ({"peer_id": 3}, "candidates[0].peer_id should be of type str"),
        ({"colour": 1}, "candidates[0].'colour' is not a field"),
        ({"breaker": "ajar"}, "allowed is closed, open, half-open, trying"),
        ({"measured_us": -1}, "candidates[0].measured_us is -1; allowed is 0"),
        ({"measured_us": 1.5}, "should be of type int | None"),
        ({"outstanding_items": None}, "should be of type int"),
        ({"local": 1}, "should be of type bool"),
        ({"outstanding_items": True}, "should be of type int"),
        ({"peer_id": "b"}, "names a peer twice"),
    ],
)
def test_a_wrong_candidate_is_named_with_its_field(change: dict[str, object], message: str) -> None:
    value = json.loads(SNAPSHOT.to_json())
    value["candidates"][0].update(change)
    with pytest.raises(InputError) as caught:
        snapshot_from_json(json.dumps(value))
    assert message in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "skill": 1}', "[" * 100_000])
def test_anything_else_is_an_input_error(text: str) -> None:
    with pytest.raises(InputError):
        snapshot_from_json(text)


def test_missing_fields_take_their_defaults() -> None:
    text = '{"version": 1, "skill": "s", "candidates": [{"peer_id": "a"}]}'
    assert snapshot_from_json(text).candidates[0].trust_micro == 500_000
