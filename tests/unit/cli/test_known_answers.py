from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from swarmharness.cli.known_answers import LINES_MAX, read_known
from swarmharness.errors import InputError
from swarmharness.execution.items import to_json
from swarmharness.execution.output_values import from_json
from swarmharness.execution.records import encode_record
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_codec import Tensor, encode_tensors
from swarmharness.jobs.messages import Output
from swarmharness.jobs.verification.comparison import agree

EMBEDDING = encode_tensors((Tensor("embedding", "float32", (3,), struct.pack("<3f", 0.1, -2.5, math.nan)),))
OUTPUTS = [
    (Kind.TEXT_EMBEDDING, EMBEDDING),
    (Kind.FILE_TYPE, encode_record(["python", 0.98765432, "text/x-python", "code"])),
    (Kind.IMAGE_OCR, encode_record([["hello", [1, 2, 30, 40], 0.91234567], ["world", [1, 50, 30, 90], 0.5]])),
    (
        Kind.TENSOR,
        encode_tensors(
            (
                Tensor("a", "int8", (2, 2), bytes([1, 2, 3, 255])),
                Tensor("b", "float64", (1,), struct.pack("<d", 1 / 3)),
                Tensor("c", "bool", (2,), b"\x00\x01"),
            )
        ),
    ),
]


@pytest.mark.parametrize(("kind", "output"), OUTPUTS)
def test_what_submit_prints_agrees_with_the_output_that_it_came_from(kind: Kind, output: bytes) -> None:
    again = from_json(kind, json.loads(json.dumps(to_json(kind, output))))
    assert agree(kind, (Output(output, ""),), (Output(again, ""),), 1e-3)


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("junk", [None, 5, "x", {"a": 1}, [["x"]], {"t": {"dtype": "f", "shape": [1], "data": [1]}}])
def test_what_is_no_output_is_refused(kind: Kind, junk: Any) -> None:
    with pytest.raises(InputError, match="not an output"):
        from_json(kind, junk)


@pytest.mark.parametrize("shape", [[2], [-1], [True], ["n"], [2**40, 2**40]])
def test_a_shape_must_fit_its_data(shape: list[Any]) -> None:
    with pytest.raises(InputError):
        from_json(Kind.TENSOR, {"t": {"dtype": "float32", "shape": shape, "data": [1.0]}})


def test_a_file_of_known_answers_names_texts_or_files_beside_it(tmp_path: Path) -> None:
    texts = tmp_path / "known.jsonl"
    texts.write_text(json.dumps({"input": "a text", "output": [0.1, 0.2]}) + "\n")
    ((item, output),) = read_known(texts, Kind.TEXT_EMBEDDING)
    assert item == b"a text"
    assert output == from_json(Kind.TEXT_EMBEDDING, [0.1, 0.2])
    (tmp_path / "tool.py").write_text("import os\n")
    kind = {"label": "python", "score": 1.0, "mime": "text/x-python", "group": "code"}
    texts.write_text(json.dumps({"input": "tool.py", "output": kind}))
    assert read_known(texts, Kind.FILE_TYPE)[0][0] == b"import os\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("junk", ":1: expected an object"),
        ('{"input": 5, "output": []}', ":1: the input is a text"),
        ('{"input": "a"}', ":1: expected an object"),
        ('{"input": "a", "output": {}}', ":1: not an output"),
        ('{"input": "a", "output": []}\n' * (LINES_MAX + 1), "at most 64"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "known.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        read_known(path, Kind.TEXT_EMBEDDING)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_known(tmp_path / "nowhere.jsonl", Kind.TEXT_EMBEDDING)
    path = tmp_path / "known.jsonl"
    path.write_text('{"input": "missing.png", "output": []}')
    with pytest.raises(InputError, match="missing"):
        read_known(path, Kind.IMAGE_OCR)
