from __future__ import annotations

import json
from typing import Any

import pytest

from swarmharness.credit.attribution.attribute import attribute, attribution_seed
from swarmharness.credit.attribution.checks import NUMBER_MAX
from swarmharness.credit.attribution.game_file import FILE_BYTES_MAX, read_game
from swarmharness.credit.attribution.games import PERMUTATIONS_MAX
from swarmharness.errors import InputError

BATCH = {"game": "batch", "price": 1200, "chunks": [{"price": 1200, "quorum": 3, "matching": list("abcde")}]}
SPECULATIVE = {"game": "speculative", "price": 100, "utility": {"a": 100, "b": 80}}
PIPELINE = {
    "game": "pipeline",
    "price": 1200,
    "stages": [{"weight": 1, "nodes": ["0", "1"]}, {"weight": 1, "nodes": ["2"]}],
}
CAPPED = {"game": "capped", "price": 100, "demand": 4, "capacity": {"a": 3, "b": 2, "c": 1}}
TABLE = {"game": "table", "price": 30, "players": ["a", "b"], "values": {"a": 10, "a,b": 30}}
LARGE_TABLE = {
    "game": "table",
    "price": 10_000,
    "players": [f"p{number:02}" for number in range(20)],
    "values": {f"p{number:02},p{(number + 1) % 20:02}": 100 + number for number in range(18)},
}


def shares(game: dict[str, Any]) -> dict[str, int]:
    return dict(attribute(read_game(json.dumps(game).encode())).shares)


@pytest.mark.parametrize(
    ("game", "expected", "method"),
    [
        (BATCH, dict.fromkeys("abcde", 240), "closed-form"),
        (SPECULATIVE, {"a": 60, "b": 40}, "closed-form"),
        (PIPELINE, {"0": 300, "1": 300, "2": 600}, "closed-form"),
        (CAPPED, {"a": 54, "b": 29, "c": 17}, "exact"),  # 13/6, 7/6, 4/6 of 4
        (TABLE, {"a": 20, "b": 10}, "exact"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_known_answers(game: dict[str, Any], expected: dict[str, int], method: str) -> None:
    found = attribute(read_game(json.dumps(game).encode()))
    assert dict(found.shares) == expected
    assert (found.method, found.permutations) == (method, 0)


def test_a_larger_table_is_sampled_and_the_same_everywhere_c_3() -> None:
    found = attribute(read_game(json.dumps(LARGE_TABLE).encode()))
    assert (found.method, found.permutations) == ("sampled", 4096)
    assert found.digest.hex() == "b767be012012ec0888119c0403afad9614c6c3ef561cf0074e462a2308b3ab1b"
    expected = [270, 531, 496, 518, 501, 512, 491, 439, 528, 532, 534, 570, 561, 573, 562, 623, 583, 809, 367, 0]
    assert list(found.shares.values()) == expected


def test_the_seed_and_the_number_of_permutations_decide_a_sample() -> None:
    seeded = shares({**LARGE_TABLE, "seed": "00ff"})
    assert seeded == shares({**LARGE_TABLE, "seed": "00ff"})
    assert seeded != shares({**LARGE_TABLE, "seed": "00fe"})
    assert seeded != shares({**LARGE_TABLE, "seed": "00ff", "permutations": 64})
    assert sum(shares({**LARGE_TABLE, "permutations": 1}).values()) == 10_000


def test_the_digest_says_what_the_game_is_and_not_how_it_was_written() -> None:
    one = {"game": "table", "price": 9, "players": ["a", "b"], "values": {"b,a": 9, "a": 1}}
    other = {"permutations": 4096, "values": {"a": 1, "a,b": 9}, "players": ["b", "a"], "price": 9, "game": "table"}
    digest = read_game(json.dumps(one).encode()).digest
    assert digest == read_game(json.dumps(other, indent=3).encode()).digest
    assert digest == read_game(json.dumps({**one, "seed": "aa"}).encode()).digest
    assert digest != read_game(json.dumps({**one, "price": 10}).encode()).digest
    assert digest != read_game(json.dumps({**one, "permutations": 1}).encode()).digest
    assert read_game(json.dumps(one).encode()).seed == digest


@pytest.mark.parametrize(
    ("game", "complaint"),
    [
        ({**BATCH, "price": 1199}, "add up to 1200"),
        ({**BATCH, "chunks": []}, "chunks: 0 of them"),
        ({**BATCH, "chunks": [{"price": 1200, "quorum": 3, "matching": ["a", "b"]}]}, "quorum is 3, but 2"),
        ({**BATCH, "chunks": [{"price": 1200, "quorum": 0, "matching": ["a"]}]}, "at least 1"),
        ({**BATCH, "chunks": [{"price": 1200, "quorum": 1, "matching": ["a", "a"]}]}, "'a' twice"),
        ({**BATCH, "chunks": [{"price": 1200, "quorum": 1}]}, r"chunks\[0\] lacks 'matching'"),
        ({**BATCH, "chunks": [{"price": 1200, "quorum": 1.0, "matching": ["a"]}]}, "must be an integer"),
        ({**BATCH, "chunks": [7]}, "must be a JSON object"),
        ({**BATCH, "chunks": {"a": 1}}, "must be a JSON array"),
        ({**SPECULATIVE, "utility": {}}, "0 players"),
        ({**SPECULATIVE, "utility": {"a": 0}}, "worth nothing"),
        ({**SPECULATIVE, "utility": {"a": -1}}, "must lie between 0"),
        ({**SPECULATIVE, "utility": {"a": True}}, "must be an integer"),
        ({**SPECULATIVE, "utility": {"a": "5"}}, "must be an integer"),
        ({**SPECULATIVE, "utility": {"": 5}}, "is no player"),
        ({**SPECULATIVE, "utility": {"a\n": 5}}, "unprintable"),
        ({**SPECULATIVE, "utility": {"a,b": 5}}, "comma"),
        ({**SPECULATIVE, "utility": {"x" * 65: 5}}, "is no player"),
        ({**SPECULATIVE, "price": -1}, "must lie between 0"),
        ({**SPECULATIVE, "price": NUMBER_MAX + 1}, "must lie between 0"),
        ({**SPECULATIVE, "price": 1.5}, "must be an integer"),
        ({**SPECULATIVE, "prize": 1}, "unknown part 'prize'"),
        ({**SPECULATIVE, "seed": "xy"}, "hexadecimal"),
        ({**SPECULATIVE, "seed": ""}, "hexadecimal"),
        ({**SPECULATIVE, "seed": 5}, "hexadecimal"),
        ({**SPECULATIVE, "permutations": 0}, '"permutations" is 0'),
        ({**SPECULATIVE, "permutations": PERMUTATIONS_MAX + 1}, "from 1 to"),
        ({**SPECULATIVE, "permutations": True}, '"permutations" is True'),
        ({**PIPELINE, "stages": [{"weight": 1, "nodes": []}]}, "has no node"),
        ({**PIPELINE, "stages": [{"weight": 0, "nodes": ["a"]}]}, "worth nothing"),
        ({**PIPELINE, "stages": [{"weight": -1, "nodes": ["a"]}]}, "must lie between 0"),
        ({**CAPPED, "demand": 0}, "worth nothing"),
        ({**CAPPED, "demand": -4}, "must lie between 0"),
        ({**CAPPED, "capacity": {}}, "0 players"),
        ({**CAPPED, "capacity": {"a": 0}}, "worth nothing"),
        ({**TABLE, "values": {"a": 10, "a,b": 9}}, "not monotone"),
        ({**TABLE, "values": {"a": 10, "c": 9}}, "'c', who is not among"),
        ({**TABLE, "values": {"": 1, "a": 10}}, "empty coalition"),
        ({**TABLE, "values": {"a,b": 10, "b,a": 10}}, "lists 'a,b' again"),
        ({**TABLE, "values": {"a,a": 10}}, "repeats a player"),
        ({**TABLE, "values": {}}, "worth nothing"),
        ({**TABLE, "players": [], "values": {}}, "0 players"),
        ({**TABLE, "players": [["a"]]}, "is no player"),
        ({**LARGE_TABLE, "values": {"p00,p01": 5, "p00": 6}}, "not monotone"),
        ({"game": "capt", "price": 1}, "did you mean 'capped'"),
        ({"game": ["batch"], "price": 1}, "it must be one of"),
        ({"price": 1}, "it must be one of"),
        ([1], "must be a JSON object"),
    ],
)
def test_a_game_whose_parts_do_not_add_up_is_refused(game: Any, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_game(json.dumps(game).encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 200_000,
        b'{"game":"speculative","price":NaN,"utility":{"a":1}}',
        b'{"game":"speculative","price":1,"price":2,"utility":{"a":1}}',
        b'{"game":"speculative","price":1,"utility":{"a":1,"a":2}}',
        b'{"game":"speculative","price":1,"utility":{"\\ud800":1}}',
        b'{"game":"speculative","price":1e3,"utility":{"a":1}}',
        b'{"game":"speculative","price":' + b"9" * 5_000 + b',"utility":{"a":1}}',
        b" " * (FILE_BYTES_MAX + 1),
    ],
)
def test_a_file_that_is_no_game_is_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        read_game(data)


def test_a_free_game_pays_nobody() -> None:
    assert shares({"game": "speculative", "price": 0, "utility": {"a": 0, "b": 1}}) == {"a": 0, "b": 0}


def test_a_node_in_two_stages_holds_two_seats() -> None:
    stages = [{"weight": 1, "nodes": ["a"]}, {"weight": 2, "nodes": ["a", "b"]}]
    assert shares({"game": "pipeline", "price": 300, "stages": stages}) == {"a": 200, "b": 100}


def test_the_seed_of_a_task_needs_every_commitment() -> None:
    task, digest = b"t" * 16, b"d" * 32
    seed = attribution_seed(task, digest, {"b": b"2" * 32, "a": b"1" * 32})
    assert seed == attribution_seed(task, digest, {"a": b"1" * 32, "b": b"2" * 32})
    assert attribution_seed(task, digest, {"a": None, "b": b"2" * 32}) == attribution_seed(
        task, digest, {"a": bytes(32), "b": b"2" * 32}
    )
    assert seed != attribution_seed(task, digest, {"a": b"2" * 32, "b": b"1" * 32})
