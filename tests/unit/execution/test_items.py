from __future__ import annotations

import io
import math
import struct

import numpy as np
import pytest

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.items import FILE_TYPE_BLOCK_BYTES, item_from_bytes, item_from_text, shorten_file, to_json
from swarmharness.execution.records import encode_record
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import Tensor, decode_tensors, encode_tensors


def test_text_is_only_for_tasks_on_text() -> None:
    assert item_from_text(Kind.TEXT_EMBEDDING, "é") == b"\xc3\xa9"
    with pytest.raises(InputError, match="image-ocr takes files, not text"):
        item_from_text(Kind.IMAGE_OCR, "hello")


def test_the_middle_of_a_long_file_stays_at_home() -> None:
    data = bytes(range(256)) * 1000
    short = shorten_file(data)
    assert len(short) == 2 * FILE_TYPE_BLOCK_BYTES
    assert data.startswith(short[:FILE_TYPE_BLOCK_BYTES])
    assert data.endswith(short[FILE_TYPE_BLOCK_BYTES:])
    assert shorten_file(b"abc") == b"abc"


def test_an_npz_file_is_one_item() -> None:
    stream = io.BytesIO()
    np.savez(stream, x=np.ones((2, 2), np.float32))
    encoded = item_from_bytes(Kind.TENSOR, "x.npz", stream.getvalue())
    assert decode_tensors(encoded)[0].shape == (2, 2)


def test_an_embedding_is_a_list_of_numbers() -> None:
    data = encode_tensors((Tensor("embedding", "float32", (2,), struct.pack("<2f", 0.5, -1)),))
    assert to_json(Kind.TEXT_EMBEDDING, data) == [0.5, -1.0]


def test_tensors_keep_type_and_shape_and_what_json_lacks_becomes_none() -> None:
    data = encode_tensors(from_arrays({"a": np.array([[1.0, math.nan]]), "b": np.array([True])}))
    assert to_json(Kind.TENSOR, data) == {
        "a": {"dtype": "float64", "shape": [1, 2], "data": [1.0, None]},
        "b": {"dtype": "bool", "shape": [1], "data": [True]},
    }


def test_lines_and_labels_become_objects() -> None:
    lines = to_json(Kind.IMAGE_OCR, encode_record([["hi", [0, 1, 2, 3], 0.98765]]))
    assert lines == [{"text": "hi", "box": [0, 1, 2, 3], "confidence": 0.9877}]
    label = to_json(Kind.FILE_TYPE, encode_record(["pdf", 0.5, "application/pdf", "document"]))
    assert label == {"label": "pdf", "score": 0.5, "mime": "application/pdf", "group": "document"}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x00\x00\x00\x05abc", encode_record([1]), encode_record({"a": 1}), encode_record([[1, 2, 3]])],
)
def test_a_peers_damaged_output_is_a_protocol_error(kind: Kind, data: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"not an output of the kind {kind.value}"):
        to_json(kind, data)
