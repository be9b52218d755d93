"""Values in and out of the Python API: what a program may give, and what a hostile peer may send."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from swarmharness.client.values import FileType, TextLine, item_of, output_of
from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.items import FILE_TYPE_BLOCK_BYTES, ITEM_BYTES_MAX, shorten_file
from swarmharness.execution.records import encode_record
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import Tensor, decode_tensors, encode_tensors

VECTOR = np.array([0.5, -1.0, 0.25], np.float32)


def tensors(**arrays: Any) -> bytes:
    return encode_tensors(from_arrays({name: np.asarray(array) for name, array in arrays.items()}))


def test_texts_and_bfloat16_go_in_and_come_out_as_arrays() -> None:
    item = item_of(Kind.TENSOR, {"t": ["Ei", "größer"], "b": np.array([1.0], np.float32)})
    assert [tensor.dtype for tensor in decode_tensors(item)] == ["string", "float32"]
    output = encode_tensors(from_arrays({"t": np.array(["Ei"]), "b": np.ones(2, np.float32)}, bfloat16={"b"}))
    value = output_of(Kind.TENSOR, output)
    assert value["t"].tolist() == ["Ei"]
    assert (value["b"].dtype, value["b"].tolist()) == (np.float32, [1.0, 1.0])
    with pytest.raises(ProtocolError, match="not UTF-8"):
        output_of(Kind.TENSOR, encode_tensors((Tensor("t", "string", (1,), b"\x01\0\0\0\xff"),)))


# -- inputs -----------------------------------------------------------------------------------------------------------


def test_a_text_is_a_str_or_utf_8_or_a_file_of_it(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("ein Ei\nund noch eins\n", "utf-8")
    assert item_of(Kind.TEXT_EMBEDDING, "grüß dich") == "grüß dich".encode()
    assert item_of(Kind.TEXT_EMBEDDING, b"plain") == b"plain"
    assert item_of(Kind.TEXT_EMBEDDING, file) == b"ein Ei\nund noch eins\n", "a file is one text, lines and all"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "the text is empty"),
        (" \n", "the text is empty"),
        ("\ud800", "lone surrogate"),
        (b"\xff", "not UTF-8"),
        (7, "not int"),
        (None, "not NoneType"),
        (["a", "b"], "not list"),
        (Path("no-such-file"), "cannot read no-such-file: No such file or directory"),
        (Path("/"), "is a folder"),
        (Path("nul\0"), "null byte"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(value: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        item_of(Kind.TEXT_EMBEDDING, value)


@pytest.mark.parametrize("kind", [Kind.IMAGE_OCR, Kind.FILE_TYPE, Kind.TENSOR])
def test_a_text_is_never_taken_for_the_name_of_a_file(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(InputError, match=r"write pathlib\.Path\("):
        item_of(kind, str(file))
    assert kind is Kind.TENSOR or item_of(kind, file) == b"x"


def test_of_a_long_file_only_what_the_model_sees_is_read_and_it_is_what_the_command_sends(tmp_path: Path) -> None:
    for size in (0, 1, 2 * FILE_TYPE_BLOCK_BYTES, 2 * FILE_TYPE_BLOCK_BYTES + 1, 100_000):
        data = bytes(index * 7 % 251 for index in range(size))
        file = tmp_path / f"{size}"
        file.write_bytes(data)
        assert item_of(Kind.FILE_TYPE, file) == item_of(Kind.FILE_TYPE, data) == shorten_file(data)


def test_a_file_that_is_too_large_is_refused_before_all_of_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(ITEM_BYTES_MAX + 1)
    with pytest.raises(InputError, match=f"more than {ITEM_BYTES_MAX} bytes"):
        item_of(Kind.IMAGE_OCR, file)


def test_arrays_go_by_name_one_alone_as_x_and_as_files_too() -> None:
    named = decode_tensors(item_of(Kind.TENSOR, {"a": VECTOR, "b": np.int64(3)}))
    assert [(tensor.name, tensor.dtype, tensor.shape) for tensor in named] == [
        ("a", "float32", (3,)),
        ("b", "int64", ()),
    ]
    (alone,) = decode_tensors(item_of(Kind.TENSOR, VECTOR[::2]))
    assert (alone.name, alone.data) == ("x", np.array([0.5, 0.25], "<f4").tobytes())
    npz = io.BytesIO()
    np.savez(npz, a=VECTOR)
    assert item_of(Kind.TENSOR, npz.getvalue()) == item_of(Kind.TENSOR, {"a": VECTOR})


@pytest.mark.parametrize(
    "value",
    [
        {"a": object()},
        {"a": [[1.0], [1.0, 2.0]]},
        {"a": "\ud800"},
        {f"name-{number}": VECTOR for number in range(65)},
        {"n" * 201: VECTOR},
        np.array([1j]),
        b"not npz",
        None,
    ],
)
def test_what_are_no_tensors_is_refused(value: Any) -> None:
    with pytest.raises(InputError):
        item_of(Kind.TENSOR, value)


# -- outputs ----------------------------------------------------------------------------------------------------------


def test_outputs_become_plain_values_that_a_program_owns() -> None:
    data = tensors(embedding=VECTOR)
    vector = output_of(Kind.TEXT_EMBEDDING, data)
    assert vector.dtype == np.float32
    assert (vector == VECTOR).all()
    vector[0] = 7.0
    assert output_of(Kind.TEXT_EMBEDDING, data)[0] == 0.5
    lines = output_of(Kind.IMAGE_OCR, encode_record([["Ä", [0, 1, 2, 3], 0.75]]))
    assert lines == [TextLine("Ä", (0, 1, 2, 3), 0.75)]
    assert output_of(Kind.IMAGE_OCR, encode_record([])) == []
    assert output_of(Kind.FILE_TYPE, encode_record(["python", 0.5, "text/x-python", "code"])) == FileType(
        "python", 0.5, "text/x-python", "code"
    )
    named = output_of(Kind.TENSOR, tensors(y=VECTOR, z=np.zeros((0, 3), np.int8)))
    assert list(named) == ["y", "z"]
    assert named["z"].shape == (0, 3)


def header_of_a_huge_tensor() -> bytes:
    return encode_tensors((Tensor("embedding", "float32", (2**40, 0), b""),))


HOSTILE: list[tuple[Kind, bytes]] = [
    (Kind.TEXT_EMBEDDING, b""),
    (Kind.TEXT_EMBEDDING, b"\xff" * 40),
    (Kind.TEXT_EMBEDDING, tensors()),
    (Kind.TEXT_EMBEDDING, tensors(a=VECTOR, b=VECTOR)),
    (Kind.TEXT_EMBEDDING, tensors(a=VECTOR.astype(np.float64))),
    (Kind.TEXT_EMBEDDING, tensors(a=VECTOR.reshape(1, 3))),
    (Kind.TEXT_EMBEDDING, tensors(a=VECTOR)[:-1]),
    (Kind.TEXT_EMBEDDING, header_of_a_huge_tensor()),
    (Kind.TENSOR, b"\x00\x00\x00\x00"),
    (Kind.TENSOR, encode_tensors((Tensor("y", "int8", (2**40, 2**40, 0), b""),))),
    (Kind.FILE_TYPE, b""),
    (Kind.FILE_TYPE, b"\x91" * 10_000),
    (Kind.FILE_TYPE, encode_record(["label", 0.5, "mime"])),
    (Kind.FILE_TYPE, encode_record(["label", float("nan"), "mime", "group"])),
    (Kind.FILE_TYPE, encode_record(["label", True, "mime", "group"])),
    (Kind.FILE_TYPE, encode_record([b"label", 0.5, "mime", "group"])),
    (Kind.FILE_TYPE, encode_record({"label": 1})),
    (Kind.FILE_TYPE, encode_record("four")),
    (Kind.IMAGE_OCR, encode_record([["text", [0, 1, 2], 0.5]])),
    (Kind.IMAGE_OCR, encode_record([["text", [0, 1, 2, 3.5], 0.5]])),
    (Kind.IMAGE_OCR, encode_record([["text", [0, 1, 2, 3], "high"]])),
    (Kind.IMAGE_OCR, encode_record([[None, [0, 1, 2, 3], 0.5]])),
    (Kind.IMAGE_OCR, encode_record([17])),
    (Kind.IMAGE_OCR, encode_record([["text", [0, 1, 2, 3], float("inf")]])),
    (Kind.IMAGE_OCR, b"\xc1"),
    (Kind.IMAGE_OCR, b"\xdd\xff\xff\xff\xff"),
]


@pytest.mark.parametrize(("kind", "data"), HOSTILE)
def test_bytes_that_are_no_output_of_the_task_are_told_apart_from_one(kind: Kind, data: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"not an output of the kind {kind.value}: "):
        output_of(kind, data)
