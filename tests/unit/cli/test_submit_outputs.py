from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarmharness.cli.submit_outputs import OutputFile, json_line, readable
from swarmharness.errors import ConfigurationError, ProtocolError
from swarmharness.execution.items import to_json
from swarmharness.execution.records import encode_record
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import encode_tensors

TEXT = Kind.TEXT_EMBEDDING


def vector(*numbers: float) -> bytes:
    return encode_tensors(from_arrays({"embedding": np.array(numbers, np.float32)}))


def result(index: int, output: bytes) -> dict[str, Any]:
    told = {"peer": "12D3KooW", "model_digest": "cd" * 32, "service_ms": 1.5, "receipt": "ab", "verified": True}
    return {"index": index, "output": output, **told, "error": ""}


def add(out: OutputFile, kind: Kind, index: int, output: bytes) -> None:
    out.add(index, output, json_line(kind, result(index, output)) if out.takes_lines else None)


def test_a_json_line_has_the_published_keys_in_order() -> None:
    line = json_line(TEXT, result(3, vector(1, 2)))
    assert list(line) == ["index", "output", "peer", "model_digest", "service_ms", "receipt", "verified", "truncated"]
    told = {"peer": "12D3KooW", "model_digest": "cd" * 32, "service_ms": 1.5, "receipt": "ab", "verified": True}
    told["truncated"] = False
    assert line == {"index": 3, "output": [1.0, 2.0], **told}
    with pytest.raises(ProtocolError):
        json_line(TEXT, result(0, b"junk"))


def test_each_task_has_a_form_for_people() -> None:
    assert readable(TEXT, [0.5] * 8, "x", alone=True) == "8 numbers: 0.5 0.5 0.5 0.5 0.5 0.5 …"
    file_type = {"label": "png", "score": 0.987, "mime": "image/png", "group": "image"}
    assert readable(Kind.FILE_TYPE, file_type, "a.png", alone=False) == "a.png: png (image/png, image, 99% sure)"
    page = [{"text": "one", "box": [0, 0, 1, 1], "confidence": 1.0}, {"text": "two", "box": [0, 0, 1, 1]}]
    assert readable(Kind.IMAGE_OCR, page, "p.png", alone=True) == "one\ntwo"
    assert readable(Kind.IMAGE_OCR, [], "p.png", alone=False) == "== p.png ==\n(no text found)\n"
    tensor = {"y": {"dtype": "int64", "shape": [2], "data": [1, 2]}}
    assert readable(Kind.TENSOR, tensor, "t", alone=False) == "t: y int64 [2]: 1 2"


ESC = "\x1b]0;mine\x07"


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        (Kind.IMAGE_OCR, [{"text": ESC, "box": [0, 0, 1, 1], "confidence": 1.0}]),
        (Kind.FILE_TYPE, {"label": ESC, "score": 0.9, "mime": "image/png", "group": "image"}),
        (Kind.TENSOR, {ESC: {"dtype": "string", "shape": [1], "data": ["\x9b2J"]}}),
    ],
)
def test_what_a_peer_answers_does_not_steer_the_terminal(kind: Kind, output: Any) -> None:
    text = readable(kind, output, "x", alone=True)
    assert text.isprintable()
    assert r"\x1b]0;mine\x07" in text


def test_jsonl_holds_a_line_a_result(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "o.jsonl") as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1))
        add(out, TEXT, 1, vector(2))
        assert not out.path.exists()
        assert out.finish(items_total=2, complete=True) == out.path
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["output"] for line in lines] == [[1.0], [2.0]]
    assert list(tmp_path.iterdir()) == [tmp_path / "o.jsonl"]
    assert (tmp_path / "o.jsonl").stat().st_mode & 0o400


def test_npy_stacks_embeddings_and_a_missing_row_is_nan(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "o.npy") as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1, 2))
        add(out, TEXT, 2, vector(5, 6))
        out.finish(items_total=3, complete=False)
    stacked = np.load(tmp_path / "o.npy")
    assert stacked.dtype == np.float32
    np.testing.assert_array_equal(stacked, [[1, 2], [np.nan, np.nan], [5, 6]])


def test_npz_keeps_the_names_of_one_result_and_numbers_those_of_several(tmp_path: Path) -> None:
    one = encode_tensors(from_arrays({"y": np.arange(6).reshape(2, 3)}))
    two = encode_tensors(from_arrays({"y": np.zeros((1, 4))}))
    with OutputFile(tmp_path / "one.npz") as out:
        out.begin(Kind.TENSOR, "j")
        add(out, Kind.TENSOR, 0, one)
        out.finish(items_total=1, complete=True)
    with OutputFile(tmp_path / "two.npz") as out:
        out.begin(Kind.TENSOR, "j")
        add(out, Kind.TENSOR, 0, one)
        add(out, Kind.TENSOR, 1, two)
        out.finish(items_total=2, complete=True)
    with OutputFile(tmp_path / "text.npz") as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(7))
        out.finish(items_total=1, complete=True)
    with np.load(tmp_path / "one.npz") as loaded:
        assert loaded["y"].tolist() == [[0, 1, 2], [3, 4, 5]]
    with np.load(tmp_path / "two.npz") as loaded:
        assert {name: loaded[name].shape for name in loaded.files} == {"y.0": (2, 3), "y.1": (1, 4)}
    with np.load(tmp_path / "text.npz") as loaded:
        assert loaded["embedding"].tolist() == [[7.0]]


def test_rows_that_come_one_by_one_make_the_file_that_numpy_would_write(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(300, 7)).astype(np.float32)
    with OutputFile(tmp_path / "o.npy") as out:
        out.begin(TEXT, "j")
        for index, row in enumerate(rows):
            add(out, TEXT, index, vector(*row))
        out.finish(items_total=300, complete=True)
    np.save(tmp_path / "numpy.npy", rows)
    assert (tmp_path / "o.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@pytest.mark.parametrize("dtype", ["bool", "float16", "float64", "int8", "int64", "uint16"])
def test_every_type_of_tensor_comes_back_from_an_archive(tmp_path: Path, dtype: str) -> None:
    array = np.array([[[1, 0], [1, 1]]], dtype)
    scalar = np.array(1, dtype)
    with OutputFile(tmp_path / "o.npz") as out:
        out.begin(Kind.TENSOR, "j")
        add(out, Kind.TENSOR, 0, encode_tensors(from_arrays({"a": array, "s": scalar})))
        out.finish(items_total=1, complete=True)
    with np.load(tmp_path / "o.npz") as loaded:
        assert loaded["a"].dtype == array.dtype
        np.testing.assert_array_equal(loaded["a"], array)
        np.testing.assert_array_equal(loaded["s"], scalar)


def test_texts_and_bfloat16_come_back_from_an_archive_as_numpy_would_have_them(tmp_path: Path) -> None:
    texts = np.array([["Ei", ""], ["größer", "二"]])
    numbers = np.array([1.0, -2.5], np.float32)
    output = encode_tensors(from_arrays({"t": texts, "b": numbers}, bfloat16={"b"}))
    with OutputFile(tmp_path / "o.npz") as out:
        out.begin(Kind.TENSOR, "j")
        add(out, Kind.TENSOR, 0, output)
        out.finish(items_total=1, complete=True)
    with np.load(tmp_path / "o.npz") as loaded:
        np.testing.assert_array_equal(loaded["t"], texts)
        np.testing.assert_array_equal(loaded["b"], numbers)
    shown = readable(Kind.TENSOR, to_json(Kind.TENSOR, output), "x", alone=True)
    assert shown == 't string [2, 2]: "Ei" "" "größer" "二"\nb bfloat16 [2]: 1 -2.5'


@pytest.mark.parametrize("texts", [["x" * 2**20, *[""] * 2**10], ["nul\0"]], ids=["too wide", "NUL at the end"])
def test_texts_that_an_archive_cannot_hold_are_an_error_that_names_what_can(tmp_path: Path, texts: list[str]) -> None:
    output = encode_tensors(from_arrays({"t": np.array(texts, object)}))
    with OutputFile(tmp_path / "o.npz") as out:
        out.begin(Kind.TENSOR, "j")
        with pytest.raises(ProtocolError, match=r"use \.jsonl"):  # noqa: PT012
            add(out, Kind.TENSOR, 0, output)
            out.finish(items_total=1, complete=True)


def test_an_embedding_of_another_size_than_the_others_is_no_valid_output(tmp_path: Path) -> None:
    with OutputFile(tmp_path / "o.npy") as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1, 2))
        with pytest.raises(ProtocolError, match="among float32 ones"):
            add(out, TEXT, 1, vector(1, 2, 3))
        with pytest.raises(ProtocolError):
            out.add(1, b"junk", None)


def test_what_a_killed_command_of_the_same_job_left_is_cleared_away(tmp_path: Path) -> None:
    orphan = tmp_path / ".o.npy.j.tmp"
    orphan.write_bytes(b"half a file")
    with OutputFile(tmp_path / "o.npy") as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1))
        out.finish(items_total=1, complete=True)
    assert [path.name for path in tmp_path.iterdir()] == ["o.npy"]


def test_an_existing_file_survives_until_everything_is_there(tmp_path: Path) -> None:
    path = tmp_path / "o.jsonl"
    path.write_text("precious")
    with OutputFile(path) as out:  # as when the command is interrupted before the end
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1))
    assert path.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [path]
    with OutputFile(path) as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1))
        partial = out.finish(items_total=2, complete=False)
    assert path.read_text() == "precious"
    assert partial == tmp_path / "o.partial.jsonl"
    assert json.loads(partial.read_text())["output"] == [1.0]
    with OutputFile(path) as out:
        out.begin(TEXT, "j")
        add(out, TEXT, 0, vector(1))
        out.finish(items_total=1, complete=True)
    assert json.loads(path.read_text())["index"] == 0


def test_a_format_that_cannot_hold_the_output_is_refused_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must end in .jsonl, .npy, .npz"):
        OutputFile(tmp_path / "o.csv")
    with pytest.raises(ConfigurationError, match="No such file"):
        OutputFile(tmp_path / "none" / "o.npy")
    with OutputFile(tmp_path / "o.npy") as out:
        out.begin(TEXT, "j")
        with pytest.raises(ConfigurationError, match=r"file-type can be written as .jsonl"):
            out.begin(Kind.FILE_TYPE, "j")
        with pytest.raises(ConfigurationError, match=r"tensor can be written as .jsonl, .npz"):
            out.begin(Kind.TENSOR, "j")


def test_ocr_output_is_shown_with_boxes() -> None:
    line = json_line(Kind.IMAGE_OCR, result(0, encode_record([["hello", [1, 2, 3, 4], 0.98765]])))
    assert line["output"] == [{"text": "hello", "box": [1, 2, 3, 4], "confidence": 0.9877}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not on this machine")
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".jsonl"])
def test_a_full_disk_is_said_in_one_line_and_leaves_no_file(tmp_path: Path, suffix: str) -> None:
    def write() -> None:
        with OutputFile(tmp_path / f"out{suffix}") as out:
            out.begin(TEXT, "j1")
            os.dup2(os.open("/dev/full", os.O_RDWR), out._file.fileno())
            for index in range(2_000):
                add(out, TEXT, index, vector(1, 2))
            out.finish(items_total=2_000, complete=True)

    with pytest.raises(ConfigurationError, match=r"cannot write .*out\..*: No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []
