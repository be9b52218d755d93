"""The codec reads every test vector in `proto/vectors` as the vector says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.tensor_codec import decode_tensors, encode_tensors
from swarmharness.execution.tensor_values import values_of
from swarmharness.protocol.codec import decode, encode
from swarmharness.protocol.frame import FrameDecoder, encode_frame
from tests.unit.protocol.make_vectors import FRAME_BYTES_MAX, VECTORS, vectors_text
from tests.unit.protocol.messages import MESSAGES

CLASSES: dict[tuple[str, str], type] = {(message.schema, message.rule): type(message.example) for message in MESSAGES}
FILES = sorted(VECTORS.glob("*.json"))
TENSORS = json.loads((VECTORS / "items.json").read_text("utf-8"))["tensors"]
FRAMES = json.loads((VECTORS / "channel.json").read_text("utf-8"))["frames"]


def _vectors(kind: str) -> list[Any]:
    return [
        pytest.param(CLASSES[path.stem, vector["rule"]], vector, id=f"{vector['rule']}: {vector['name']}")
        for path in FILES
        for vector in json.loads(path.read_text("utf-8"))[kind]
    ]


@pytest.mark.parametrize(("cls", "vector"), _vectors("accepted"))
def test_an_accepted_vector_decodes_and_encodes_to_the_same_bytes(cls: type, vector: dict[str, str]) -> None:
    data = bytes.fromhex(vector["hex"])
    assert encode(decode(cls, data)) == data


@pytest.mark.parametrize(("cls", "vector"), _vectors("tolerated"))
def test_what_a_newer_version_appended_is_ignored(cls: type, vector: dict[str, str]) -> None:
    assert encode(decode(cls, bytes.fromhex(vector["hex"]))).hex() == vector["canonical"]


@pytest.mark.parametrize(("cls", "vector"), _vectors("refused"))
def test_a_refused_vector_is_a_protocol_error_that_names_the_field(cls: type, vector: dict[str, str | None]) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(cls, bytes.fromhex(vector["hex"] or ""))
    assert "\n" not in str(caught.value)
    if vector["field"] is not None:
        assert f"{cls.__name__}.{vector['field']}" in str(caught.value)


@pytest.mark.parametrize("vector", FRAMES["accepted"], ids=lambda vector: vector["name"])
def test_an_accepted_frame_has_this_kind_request_id_and_body(vector: dict[str, Any]) -> None:
    data, body = bytes.fromhex(vector["hex"]), bytes.fromhex(vector["body"])
    assert FrameDecoder(FRAME_BYTES_MAX).feed(data) == [(vector["kind"], vector["request_id"], body)]
    assert encode_frame(vector["kind"], vector["request_id"], body) == data


@pytest.mark.parametrize("vector", FRAMES["refused"], ids=lambda vector: vector["name"])
def test_a_refused_frame_is_a_protocol_error(vector: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        FrameDecoder(FRAME_BYTES_MAX).feed(bytes.fromhex(vector["hex"]))


@pytest.mark.parametrize("vector", TENSORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_tensors_have_these_values(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["hex"])
    tensors = decode_tensors(data)
    assert [(each.name, each.dtype, list(each.shape), values_of(each)) for each in tensors] == [
        (each["name"], each["dtype"], each["shape"], each["values"]) for each in vector["tensors"]
    ]
    assert encode_tensors(tensors) == data


@pytest.mark.parametrize("vector", TENSORS["refused"], ids=lambda vector: vector["name"])
def test_refused_tensors_are_an_input_error(vector: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        list(map(values_of, decode_tensors(bytes.fromhex(vector["hex"]))))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_vectors_are_those_of_the_code(path: Path) -> None:
    assert path.read_text("utf-8") == vectors_text(path.stem), "run scripts/make-vectors, and see what changed"


def test_every_schema_has_vectors() -> None:
    assert [path.stem for path in FILES] == sorted(path.stem for path in (VECTORS.parent).glob("*.cddl"))
