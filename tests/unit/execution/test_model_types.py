"""Models as users have them: what can be sent works, and what cannot is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from swarmharness.errors import InputError
from swarmharness.execution.items import to_json
from swarmharness.execution.kinds.onnx_values import check_output, output_arrays
from swarmharness.execution.kinds.session import SessionFactory
from swarmharness.execution.kinds.tensor import TensorRunner
from swarmharness.execution.skill import Kind, TensorInput
from swarmharness.execution.tensor_codec import encode_tensors
from swarmharness.execution.tensor_values import tensor_of
from swarmharness.execution.worker import answered_sample, failed, measure
from tests.unit.execution import builders


def runner(tmp_path: Path, data: bytes, *declared: TensorInput) -> TensorRunner:
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    return TensorRunner({"model.onnx": path}, SessionFactory(threads=1), declared)


def outputs(model: TensorRunner, item: bytes) -> dict[str, Any]:
    (output,) = model.run([item], {})
    assert output.error == ""
    found: dict[str, Any] = to_json(Kind.TENSOR, output.data)
    return found


def test_texts_go_in_and_come_out(tmp_path: Path) -> None:
    model = runner(tmp_path, builders.naming())
    item = encode_tensors((tensor_of("words", "string", (3,), ["dog", "", "größer"]),))
    assert outputs(model, item) == {
        "number": {"dtype": "int64", "shape": [3], "data": [2, 0, 0]},
        "again": {"dtype": "string", "shape": [3], "data": ["dog", "", "größer"]},
    }
    assert min(measure(model, measure_s=0)) > 0
    (wrong,) = model.run([builders.item(words=builders.floats([1]))], {})
    assert wrong.error == "the input 'words' has the type float32, expected string"


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(TensorProto.FLOAT16, "float16"), (TensorProto.BFLOAT16, "bfloat16"), (TensorProto.DOUBLE, "float64")],
)
def test_numbers_of_every_width_go_in_and_come_out(tmp_path: Path, dtype: int, name: str) -> None:
    model = runner(tmp_path, builders.doubling_in(dtype))
    item = encode_tensors((tensor_of("x", name, (3,), [1.0, -2.5, None]),))
    assert outputs(model, item) == {"y": {"dtype": name, "shape": [3], "data": [2.0, -5.0, None]}}
    assert min(measure(model, measure_s=0)) > 0
    none = encode_tensors((tensor_of("x", name, (0,), []),))
    assert outputs(model, none) == {"y": {"dtype": name, "shape": [0], "data": []}}


def test_an_array_of_float32_is_taken_for_bfloat16_which_numpy_lacks(tmp_path: Path) -> None:
    model = runner(tmp_path, builders.doubling_in(TensorProto.BFLOAT16))
    found = outputs(model, builders.item(x=builders.floats([1.0, 3.14159])))
    assert found == {"y": {"dtype": "bfloat16", "shape": [2], "data": [2.0, 6.28125]}}


@pytest.mark.parametrize(("labels", "dtype"), [(["cat", "dog", "emu"], "string"), ([3, 5, 7], "int64")])
def test_the_maps_of_a_scikit_learn_classifier_become_a_table_and_its_labels(
    tmp_path: Path, labels: Any, dtype: str
) -> None:
    model = runner(tmp_path, builders.classifying(labels))
    found = outputs(model, builders.item(x=builders.floats([[0.5, 0.25, 0.125], [0, 0, 1]])))
    assert found == {
        "label": {"dtype": dtype, "shape": [1, 2], "data": [labels[0], labels[2]]},
        "probability": {"dtype": "float32", "shape": [2, 3], "data": [0.5, 0.25, 0.125, 0.0, 0.0, 1.0]},
        "probability.labels": {"dtype": dtype, "shape": [3], "data": labels},
    }
    assert min(measure(model, measure_s=0)) > 0


def test_maps_of_other_forms() -> None:
    one = output_arrays("m", "map(string,tensor(float))", {"a": 1.0, "b": 2.0})
    assert {name: array.tolist() for name, array in one.items()} == {"m": [1.0, 2.0], "m.labels": ["a", "b"]}
    none = output_arrays("m", "seq(map(int64,tensor(double)))", [])
    assert {name: (array.shape, array.dtype.name) for name, array in none.items()} == {
        "m": ((0, 0), "float64"),
        "m.labels": ((0,), "int64"),
    }
    with pytest.raises(InputError, match="rows of 'm' have different keys"):
        output_arrays("m", "seq(map(int64,tensor(float)))", [{1: 0.5}, {2: 0.5}])


@pytest.mark.parametrize("onnx_type", ["seq(tensor(float))", "optional(tensor(float))", "tensor(complex64)", "", "map"])
def test_what_can_never_be_sent_is_refused_when_the_model_is_opened(onnx_type: str) -> None:
    with pytest.raises(InputError, match="which cannot be sent"):
        check_output("y", onnx_type)


def test_a_model_that_puts_out_sequences_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"output 'probability' is a seq\(tensor\(float\)\), which cannot be sent"):
        runner(tmp_path, builders.classifying(["a", "b"], kind="sequence"))


@pytest.mark.parametrize("data", [builders.of_opset(99)])
def test_an_opset_that_the_runtime_lacks_is_named_with_the_one_that_it_has(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Exception, match="Opset 99") as caught:
        runner(tmp_path, data)
    reason = failed(caught.value).reason
    assert reason.startswith("it is of opset 99 of ai.onnx, and this ONNX Runtime knows up to ")
    assert reason.endswith(": export it with a lower opset, or upgrade onnxruntime")


def test_free_dimensions_are_tried_in_several_sizes(tmp_path: Path) -> None:
    model = runner(tmp_path, builders.dividing())
    (output,) = model.run([answered_sample(model)], {})
    assert to_json(Kind.TENSOR, output.data)["y"]["shape"] == [1, 8]


def test_a_declared_sample_is_the_only_one(tmp_path: Path) -> None:
    declared = TensorInput("x", "float32", ("n",), sample_shape=(24,), sample_value=0.5)
    model = runner(tmp_path, builders.dividing(), declared)
    (output,) = model.run([answered_sample(model)], {})
    found = to_json(Kind.TENSOR, output.data)["y"]
    assert found["shape"] == [3, 8]
    assert set(found["data"]) == {0.5}


def test_a_sample_value_that_its_type_cannot_hold_is_named(tmp_path: Path) -> None:
    declared = TensorInput("x", "float32", ("n",), sample_value="much")
    with pytest.raises(InputError, match="the sample_value 'much' of 'x' is no float32"):
        measure(runner(tmp_path, builders.dividing(), declared), measure_s=0)


def test_a_sample_too_large_to_be_sent_is_not_made(tmp_path: Path) -> None:
    declared = TensorInput("x", "float32", ("n",), sample_shape=(2**40,))
    with pytest.raises(InputError, match="there is no input of a size that can be sent"):
        measure(runner(tmp_path, builders.dividing(), declared), measure_s=0)


def test_the_yardstick_is_a_model_that_runs() -> None:
    from swarmharness.execution.kinds.yardstick import ROWS, WIDTH, yardstick

    (result,) = SessionFactory(threads=1).open(yardstick()).run({"x": np.ones((ROWS, WIDTH), np.float32)})
    assert result.shape == (ROWS, WIDTH)
