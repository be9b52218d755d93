"""`swarmharness router rank` on files, good and bad; it needs no node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from swarmharness.cli.failures import report
from swarmharness.cli.policy_file import read_policy
from swarmharness.cli.router_command import app
from swarmharness.errors import ConfigurationError
from swarmharness.node.config_template import render
from swarmharness.routing.candidate import RouteRequest, Snapshot
from swarmharness.routing.explain import explain
from swarmharness.routing.policy import COMPLETION_WEIGHTS, RoutingPolicy
from tests.unit.routing.views import view

SNAPSHOT = Snapshot(
    "text-embedding",
    (
        view("near"),
        view("far", round_trip_us=30_000),
        view("gone", reachable=False),
        view("dear", price_microcredits=10**6),
    ),
)
WEIGHTS = {name: 0.25 if name == "price_weight" else 1 for name in COMPLETION_WEIGHTS}
POLICY = "[routing]\n" + "".join(f"{name} = {weight}\n" for name, weight in WEIGHTS.items())
LINE = list(WEIGHTS).index("price_weight") + 2


class Rank:
    """Runs the command on files that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.snapshot, self.policy = folder / "snapshot.json", folder / "policy.toml"
        self.snapshot.write_text(SNAPSHOT.to_json(), "utf-8")
        self.policy.write_text(POLICY, "utf-8")

    def __call__(self, *arguments: str) -> str:
        asked = ["rank", "--snapshot", str(self.snapshot), "--policy", str(self.policy), *arguments]
        done = CliRunner().invoke(app, asked)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def failure(self, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
        """Return the exit status and what the program would print on standard error."""
        asked = ["rank", "--snapshot", str(self.snapshot), "--policy", str(self.policy)]
        done = CliRunner().invoke(app, asked)
        assert done.exception is not None
        status = report(done.exception)
        return status, capsys.readouterr().err


@pytest.fixture
def rank(tmp_path: Path) -> Rank:
    return Rank(tmp_path)


def test_a_rank_is_what_the_routing_code_says(rank: Rank) -> None:
    told = json.loads(rank("--items", "8", "--json"))
    expected = explain(SNAPSHOT, read_policy(rank.policy), RouteRequest("text-embedding", 8)).as_dict()
    assert told == json.loads(json.dumps(expected))
    assert [row["peer"] for row in told["candidates"]] == ["near", "far", "dear", "gone"]
    assert [row["position"] for row in told["candidates"]] == [1, 2, 3, None]


def test_a_person_sees_rank_peer_utility_and_each_term(rank: Rank) -> None:
    text = rank()
    for shown in ("near", "utility", "time", "trust", "pheromone", "price", "left out, it does not answer"):
        assert shown in text


def test_another_policy_ranks_otherwise(rank: Rank) -> None:
    rank.policy.write_text(POLICY.replace("price_weight = 0.25", "price_weight = 0"), "utf-8")
    order = [row["peer"] for row in json.loads(rank("--items", "100", "--json"))["candidates"]]
    assert order.index("dear") < order.index("far")


def test_a_whole_configuration_is_a_policy_too(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(render(), "utf-8")
    assert read_policy(tmp_path / "node.toml") == RoutingPolicy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POLICY.replace("= 0.25", "= -1"), "price_weight is -1.0; allowed is 0 to 1000"),
        (POLICY.replace("= 0.25", "= nan"), "price_weight is nan; allowed is 0 to 1000"),
        (POLICY.replace("= 0.25", "= inf"), "price_weight is inf"),
        (POLICY.replace("= 0.25", '= "much"'), "price_weight must be a number"),
        (POLICY.replace("= 0.25", "= true"), "price_weight must be a number"),
        (POLICY.replace("= 0.25", "= []"), "price_weight must be a number"),
        (POLICY.replace("price_weight = 0.25\n", ""), "has no price_weight"),
        ("[routing]\n", "has no time_weight, trust_weight, price_weight"),
        ('[routing]\nform = "additive"\n', "has no additive_capable_weight"),
        (POLICY + "colour = 1\n", "'colour' is not a key of the routing policy"),
        (POLICY.replace("price_weight", "prize_weight"), "did you mean price_weight?"),
        (POLICY.replace("= 1\n", "= 0\n").replace("0.25", "0"), "all weights of the form"),
        ("", "[routing] is missing"),
        ("[router]\n", "is not a known table"),
        ("routing = 3\n", "[routing]"),
        ("[routing\n", "not valid TOML"),
        ("[" * 9000, "TOML"),
        ("#" * (2**20 + 1), "larger than"),
    ],
)
def test_a_bad_policy_is_one_line_and_the_status_of_a_configuration_error(
    rank: Rank, text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rank.policy.write_text(text, "utf-8")
    status, line = rank.failure(capsys)
    assert status == 2
    assert message in line
    assert str(rank.policy) in line
    assert line.count("\n") == 1


def test_the_line_of_a_bad_weight_is_named(rank: Rank) -> None:
    rank.policy.write_text(POLICY.replace("= 0.25", "= -1"), "utf-8")
    with pytest.raises(ConfigurationError, match=rf"policy\.toml:{LINE}: \[routing\] price_weight"):
        read_policy(rank.policy)


def _hostile(change: dict[str, Any]) -> str:
    value = json.loads(SNAPSHOT.to_json())
    value["candidates"][0].update(change)
    return json.dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "null",
        "[" * 200_000,
        '{"version": 1}',
        '{"version": 2, "skill": "s", "candidates": []}',
        '{"version": 1, "skill": "\\ud800", "candidates": []}',
        '{"version": 1, "skill": "s", "candidates": [7]}',
        "9" * 10_000,
        _hostile({"peer_id": "\x1b[2J"}),
        _hostile({"peer_id": "p" * 600}),
        _hostile({"\x1b[2J" * 99: 1}),
        _hostile({"measured_us": -1}),
        _hostile({"measured_us": float("nan")}),
        _hostile({"measured_us": 10**30}),
        _hostile({"breaker": "\ud800"}),
        _hostile({"peer_id": "far"}),
    ],
)
def test_a_bad_snapshot_is_one_printable_line_and_the_status_of_an_input_error(
    rank: Rank, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rank.snapshot.write_text(text, "utf-8")
    status, line = rank.failure(capsys)
    assert status == 3
    assert line.count("\n") == 1
    assert line.strip().isprintable()


@pytest.mark.parametrize("name", ["snapshot", "policy"])
def test_a_file_that_is_not_there_or_not_text_is_named(
    rank: Rank, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path: Path = getattr(rank, name)
    path.write_bytes(b"\xff\xfe")
    assert "UTF-8" in rank.failure(capsys)[1]
    path.unlink()
    assert str(path) in rank.failure(capsys)[1]


def test_a_task_has_at_least_one_item_and_its_input_a_size(rank: Rank) -> None:
    with pytest.raises(ConfigurationError, match="--items is 0"):
        rank("--items", "0")
    with pytest.raises(ConfigurationError, match="--input-bytes is -1"):
        rank("--input-bytes", "-1")


def test_a_large_input_is_part_of_the_time_and_of_the_order(rank: Rank) -> None:
    views = (view("wide", measured_us=9_000, bandwidth_bytes_s=10**9), view("narrow", bandwidth_bytes_s=10**6))
    rank.snapshot.write_text(Snapshot("text-embedding", views).to_json(), "utf-8")
    small, large = (json.loads(rank("--json", "--input-bytes", size))["candidates"] for size in ("100", "1000000"))
    assert ([row["peer"] for row in small], [row["peer"] for row in large]) == (["narrow", "wide"], ["wide", "narrow"])
    assert large[1]["parts_ms"]["input"] == 1000
    assert "input 1000.0" in rank("--input-bytes", "1000000")
