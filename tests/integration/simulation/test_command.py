from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from swarmharness.cli.application import run
from tests.unit.simulation.samples import SMALL


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


def test_json_has_the_digest_and_everything_that_the_report_shows(
    scenario: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = tmp_path / "out.html"
    assert run(["simulate", scenario, "--seed", "3", "--json", "--report", str(report)]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert len(answer["trace_digest"]) == 64
    assert answer["violations"] == []
    assert answer["requests"]["answered"] == answer["requests"]["ended"] > 50
    page = report.read_text()
    for text in (
        "Goodput over time",
        "Latency over time",
        "Requests answered",
        "Credit by kind",
        "Share of traffic",
        "Messages",
        "Bytes",
    ):
        assert text in page
    assert page.count("<svg") == 7
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_a_person_reads_what_happened(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", scenario, "--nodes", "4", "--hours", "0.02"]) == 0
    shown = capsys.readouterr().out
    assert "4 nodes, 0.02 h, seed 0" in shown
    assert "trace" in shown


def test_a_scenario_with_a_mistake_is_refused(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(scenario).write_text(SMALL.replace("delay_ms", "delay_sm"))
    assert run(["simulate", scenario]) == 2
    assert "did you mean delay_ms" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--report", "--keep-failure"])
def test_a_folder_that_is_not_there_is_refused_before_the_simulation(
    scenario: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", scenario, option, str(tmp_path / "none" / "out.html")]) == 2
    assert "a folder that exists" in capsys.readouterr().err


@pytest.mark.parametrize("report", ["out.pdf", "out"])
def test_a_report_of_another_kind_is_refused(scenario: str, report: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", scenario, "--report", report]) == 2
    assert ".html or .png" in capsys.readouterr().err


def test_a_failure_prints_what_is_needed_to_see_it_again(
    scenario: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def drive(self: object, _: trio.Nursery) -> None:
        return None

    monkeypatch.setattr("swarmharness.jobs.service.Job.drive", drive)
    kept = tmp_path / "kept.toml"
    assert run(["simulate", scenario, "--seed", "8", "--keep-failure", str(kept)]) == 1
    shown = capsys.readouterr().out
    assert "BROKEN: invariant J-1" in shown
    assert "seed 8, commit " in shown
    assert "step " in shown
    assert "smallest scenario that fails alike" in shown
    assert "[nodes.clients]" in kept.read_text()


def test_what_was_expected_and_did_not_come_is_said_and_is_not_a_success(
    scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(scenario).write_text(SMALL + "\n[expect]\nlatency_p50_ms = 1\n")
    assert run(["simulate", scenario]) == 7
    assert "not as expected: the median latency" in capsys.readouterr().out
