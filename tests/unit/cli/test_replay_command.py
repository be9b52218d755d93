"""`swarmharness router replay` on traces from a small world, and on bad files; it needs no node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from swarmharness.cli import replay_report
from swarmharness.cli.failures import report
from swarmharness.cli.router_command import app
from swarmharness.routing.policy import COMPLETION_WEIGHTS, policy_toml
from swarmharness.routing.trace import Trace, to_line
from tests.unit.routing.traces import START_US, Server, record, served

SERVERS = {"slow": 40_000, "fast": 5_000}


def trace() -> Trace:
    """A client that did not know better: nine of ten tasks went to the slow peer."""
    servers = {peer: Server(item_us) for peer, item_us in SERVERS.items()}
    return served(servers, (["slow"] * 9 + ["fast"]) * 20, gap_us=30_000)


class Replay:
    """Runs the command on files that a test writes."""

    def __init__(self, folder: Path) -> None:
        self.trace, self.policy, self.other = folder / "t.jsonl", folder / "a.toml", folder / "b.toml"
        self.trace.write_text("".join(map(to_line, trace().records)))
        self.policy.write_text(f"[routing]\n{policy_toml()}")
        weights = "".join(f"{name} = {int(name == 'price_weight')}\n" for name in COMPLETION_WEIGHTS)
        self.other.write_text(f"[routing]\n{weights}")

    def __call__(self, *arguments: str) -> str:
        asked = ["replay", str(self.trace), "--policy", str(self.policy), "--policy", str(self.other), *arguments]
        done = CliRunner().invoke(app, asked)
        if done.exception is not None:
            raise done.exception
        return done.stdout

    def failure(self, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever it is, the program turns it into a line
            self(*arguments)
        return report(caught.value), capsys.readouterr().err


@pytest.fixture
def replay(tmp_path: Path) -> Replay:
    return Replay(tmp_path)


def test_policies_are_compared_by_latency_goodput_and_share(replay: Replay) -> None:
    told = json.loads(replay("--within", "20", "--json"))
    assert (told["tasks"], told["within_ms"], told["torn"]) == (200, 20, False)
    assert told["model_to_recorded"] == pytest.approx({"p50": 1, "p90": 1, "p99": 1}, abs=0.02)
    recorded, model, best, blind = told["results"]
    assert [row["policy"] for row in told["results"]] == ["recorded", "model", str(replay.policy), str(replay.other)]
    assert recorded["shares"] == model["shares"] == {"slow": 0.9, "fast": 0.1}
    assert best["p50_ms"] == 6
    assert best["goodput"] > 0.9 > recorded["goodput"]
    assert best["shares"]["fast"] > 0.9
    assert blind["shares"] == {"fast": 1.0}, "equal prices, so by name"
    assert {row["peer"]: row["slots"] for row in told["peers"]} == {"slow": 1, "fast": 1}


def test_a_person_sees_the_same(replay: Replay) -> None:
    text = replay()
    for shown in (
        "200 tasks",
        "recorded",
        "model",
        "p99 ms",
        "goodput",
        "share of items",
        "slow",
        "90.0%",
        "(1 is right)",
    ):
        assert shown in text


def test_the_seed_decides(replay: Replay) -> None:
    assert replay("--json") == replay("--json")


def test_without_a_policy_the_model_alone_is_judged(replay: Replay) -> None:
    done = CliRunner().invoke(app, ["replay", str(replay.trace), "--json"])
    assert [row["policy"] for row in json.loads(done.stdout)["results"]] == ["recorded", "model"]


def test_a_torn_last_line_and_failed_tasks_are_mentioned(replay: Replay) -> None:
    failed = to_line(record(START_US, "slow", error="lost"))
    replay.trace.write_text(failed + replay.trace.read_text() + failed[:50])
    text = replay()
    assert "1 lost" in text
    assert "cut off" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no record"),
        (b"\xff\xfe\n", "UTF-8"),
        (b"{}\n", "t.jsonl:1: "),
        (b"x" * 600_000, "t.jsonl:1: "),
        (b"x" * 200_000, "holds no record"),
        (b"x" * 600_000 + b"\n", "t.jsonl:1: "),
        (to_line(record(1, "a", error="lost")).encode(), "no task that was answered"),
    ],
)
def test_what_is_no_trace_is_one_line_and_the_status_of_an_input_error(
    replay: Replay, content: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    replay.trace.write_bytes(content)
    status, line = replay.failure(capsys)
    assert status == 3
    assert message in line
    assert line.count("\n") == 1


def test_a_file_that_is_not_there_or_too_large_is_named(
    replay: Replay, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_report, "FILE_BYTES_MAX", 10)
    assert "larger than 10 bytes" in replay.failure(capsys)[1]
    replay.trace.unlink()
    status, line = replay.failure(capsys)
    assert status == 3
    assert str(replay.trace) in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--within", "0"), "--within is 0"),
        (("--within", "nan"), "--within is nan"),
        (("--seed", "-1"), "--seed is -1"),
    ],
)
def test_limits_of_the_options(
    replay: Replay, arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = replay.failure(capsys, *arguments)
    assert status == 2
    assert message in line


def test_a_bad_policy_is_a_configuration_error(replay: Replay, capsys: pytest.CaptureFixture[str]) -> None:
    replay.other.write_text("[routing]\ntime_weight = -1\n")
    status, line = replay.failure(capsys)
    assert status == 2
    assert "time_weight is -1.0" in line
