from __future__ import annotations

import math
import struct

import pytest

from swarmharness.execution.records import encode_record
from swarmharness.execution.tensor_codec import Tensor, encode_tensors
from swarmharness.execution.tensor_values import tensor_of
from swarmharness.jobs.messages import Output
from swarmharness.jobs.verification.comparison import STEP_ELEMENTS, agree, compare

NAN, INF = math.nan, math.inf


def floats(*values: float, dtype: str = "float32", shape: tuple[int, ...] | None = None, name: str = "out") -> Output:
    code = {"float16": "e", "float32": "f", "float64": "d"}[dtype]
    data = struct.pack(f"<{len(values)}{code}", *values)
    return Output(encode_tensors((Tensor(name, dtype, shape or (len(values),), data),)), "")


def same(left: Output, right: Output, kind: str = "tensor", tolerance: float = 1e-3) -> bool:
    forth, back = (agree(kind, (a,), (b,), tolerance) for a, b in ((left, right), (right, left)))
    assert forth == back
    return forth


def test_what_outputs_are_flagged_with_must_agree_as_far_as_it_is_known_here() -> None:
    plain, cut, newer = (Output(floats(1.0).data, "", flags) for flags in (0, 1, 0x8000_0000))
    assert not same(plain, cut)
    assert same(cut, cut)
    assert same(plain, newer)
    assert not same(cut, newer)
    assert same(Output(b"", "bad", 1), Output(b"", "bad", 0)), "an item without an output has nothing to be flagged"


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_lies_within_the_tolerance_of_the_largest_element_agrees(dtype: str) -> None:
    assert same(floats(1.0, -2.0, 0.0, dtype=dtype), floats(1.001, -2.0, 0.0015, dtype=dtype))
    assert not same(floats(1.0, -2.0, dtype=dtype), floats(1.01, -2.0, dtype=dtype))


def test_bfloat16_agrees_within_two_of_its_steps_and_texts_agree_exactly() -> None:
    def output(dtype: str, *values: object) -> Output:
        return Output(encode_tensors((tensor_of("out", dtype, (len(values),), values),)), "")

    assert same(output("bfloat16", 1.0, -2.0), output("bfloat16", 1.0, -1.984375))
    assert not same(output("bfloat16", 1.0, -2.0), output("bfloat16", 1.0, -1.953125))
    assert same(output("bfloat16", NAN, -2.0), output("bfloat16", NAN, -2.015625))
    assert same(output("string", "cat", ""), output("string", "cat", ""))
    assert not same(output("string", "cat"), output("string", "cart"))


def test_one_element_of_a_large_tensor_cannot_be_altered() -> None:
    honest = [1.0] * 100_000
    altered = [*honest[:-1], 0.5]
    assert not same(floats(*honest), floats(*altered))


@pytest.mark.parametrize(
    ("left", "right", "agrees"),
    [
        ((1.0, NAN), (1.0, NAN), True),
        ((1.0, NAN), (1.0, 1.0), False),
        ((INF, 1.0), (INF, 1.0), True),
        ((INF, 1.0), (-INF, 1.0), False),
        ((INF, 1.0), (INF, 2.0), False),
        ((INF, 1.0), (1e30, 1.0), False),
        ((NAN, 1.0), (NAN, 1.0005), True),
        ((0.0, 0.0), (-0.0, 0.0), True),
        ((0.0, 0.0), (1e-30, 0.0), False),
    ],
)
def test_what_is_no_number_must_be_so_in_both(left: tuple[float, ...], right: tuple[float, ...], agrees: bool) -> None:
    assert same(floats(*left), floats(*right)) is agrees


def test_shape_type_and_name_must_be_the_same() -> None:
    value = floats(1.0, 2.0)
    assert not same(value, floats(1.0, 2.001, shape=(2, 1)))
    assert not same(value, floats(1.0, 2.0, dtype="float64"))
    assert not same(value, floats(1.0, 2.0, name="other"))
    assert not same(value, floats(1.0, 2.0, 0.0))


def test_integers_are_compared_exactly() -> None:
    left, right = (Output(encode_tensors((Tensor("n", "int8", (1,), bytes([n])),)), "") for n in (100, 101))
    assert not same(left, right)
    assert same(left, left)


@pytest.mark.parametrize("kind", ["tensor", "text-embedding", "file-type", "image-ocr", "memory"])
@pytest.mark.parametrize(
    "junk", [b"", b"\xff" * 64, b"\x00\x00\xff\xff", bytes(1000), encode_record({"a": 1}), encode_record([[1]])]
)
def test_bytes_that_are_no_output_agree_with_themselves_alone(kind: str, junk: bytes) -> None:
    assert same(Output(junk, ""), Output(junk, ""), kind)
    assert not same(Output(junk, ""), floats(1.0), kind)
    assert not same(Output(junk + b"x", ""), Output(junk, ""), kind)


def test_labels_are_compared_exactly_and_scores_within_the_tolerance() -> None:
    def label(name: str, score: object) -> Output:
        return Output(encode_record([name, score, "text/x-python", "code"]), "")

    assert same(label("python", 0.9), label("python", 0.9004), "file-type")
    assert not same(label("python", 0.9), label("ruby", 0.9), "file-type")
    assert not same(label("python", 0.9), label("python", 0.8), "file-type")
    assert not same(label("python", 0.9), label("python", NAN), "file-type")
    assert not same(label("python", 0.9), label("python", "0.9"), "file-type")


def test_texts_are_compared_exactly_and_boxes_to_the_pixel() -> None:
    def line(text: str, left: object = 10, confidence: float = 0.9) -> Output:
        return Output(encode_record([[text, [left, 20, 100, 40], confidence]]), "")

    assert same(line("hello"), line("hello", 11, 0.905), "image-ocr")
    assert not same(line("hello"), line("hell0"), "image-ocr")
    assert not same(line("hello"), line("hello", 14), "image-ocr")
    assert not same(line("hello"), line("hello", None), "image-ocr")
    assert not same(line("hello"), Output(encode_record([]), ""), "image-ocr")


def test_errors_agree_with_errors_whatever_they_say_and_never_with_an_output() -> None:
    assert same(Output(b"", "no image"), Output(b"", "cannot read it"))
    assert not same(Output(b"", "no image"), floats(1.0))


def test_the_number_of_outputs_must_be_the_same() -> None:
    one = floats(1.0)
    assert not agree("tensor", (one,), (one, one), 1e-3)


def test_a_large_comparison_lets_others_run_in_between() -> None:
    size = 4 * STEP_ELEMENTS
    steps = compare("tensor", (floats(*([1.0] * size)),), (floats(*([1.0001] * size)),), 1e-3)
    assert sum(1 for _ in steps) >= 4
    assert agree("tensor", (floats(*([1.0] * size)),), (floats(*([1.0001] * size)),), 1e-3)
