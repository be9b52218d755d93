from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from swarmharness.errors import InputError
from swarmharness.execution.onnx_inspection import (
    ModelFacts,
    TensorFact,
    check_facts,
    comparison_class_of,
    facts_from_json,
    facts_to_json,
    inspect_model,
    parse,
)
from tests.unit.execution import builders


def check(data: bytes, *, contrib_operators: bool = False) -> None:
    check_facts(parse(data), "model.onnx", contrib_operators=contrib_operators)


def test_an_ordinary_model_is_described_in_a_subprocess(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(builders.doubling())
    facts = inspect_model(path, "model.onnx")
    assert facts == ModelFacts(
        nodes=1,
        opsets=(("", 17),),
        foreign_operators=(),
        external_paths=(),
        inputs=(TensorFact("x", "float32", ("n", 3)),),
        outputs=(TensorFact("y", "float32", ("n", 3)),),
        dtypes=("float32",),
        quantised=False,
    )
    check_facts(facts, "model.onnx", contrib_operators=False)
    assert facts_from_json(facts_to_json(facts)) == facts


@pytest.mark.parametrize(
    "data", [b"", b"hello, I am no model", bytes(1000), b"\x08\x08", b"\x89PNG\r\n\x1a\n" + bytes(64)]
)
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"model\.onnx is not an ONNX model"):
        check_facts(inspect_model(path, "model.onnx"), "model.onnx", contrib_operators=False)


def test_a_truncated_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(builders.doubling()[:-5])


def test_a_model_beyond_the_size_limit_is_not_even_read(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(builders.doubling())
    with pytest.raises(InputError, match="at most 10 are allowed"):
        inspect_model(path, "model.onnx", size_bytes_max=10)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.onnx cannot be read: No such file"):
        inspect_model(tmp_path / "nothing", "model.onnx")


@pytest.mark.parametrize("location", ["weights.bin", "../../etc/passwd", "/etc/passwd", "", "a\x1b[2Jb"])
def test_external_data_is_refused_wherever_it_points(location: str) -> None:
    with pytest.raises(
        InputError, match=r"keeps tensors in other files.*`swarmharness skills add MODEL.onnx` puts them into one"
    ) as caught:
        check(builders.with_external_data(location))
    assert str(caught.value).isprintable()


def test_external_data_inside_a_node_is_found() -> None:
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    weight.external_data.add(key="location", value="elsewhere")  # without data_location: some tools set only this
    node = helper.make_node("Constant", [], ["y"], value=weight)
    outputs: dict[str, tuple[int, list[int | str] | None]] = {"y": (TensorProto.FLOAT, [1])}
    with pytest.raises(InputError, match="'elsewhere'"):
        check(builders.serialized(builders.model([node], {}, outputs)))


@pytest.mark.parametrize("nested", [False, True])
def test_custom_operators_are_refused_even_inside_a_branch(nested: bool) -> None:
    with pytest.raises(InputError, match=r"custom operator my\.domain::Evil, which is refused"):
        check(builders.with_operator("my.domain", "Evil", nested=nested))


def test_runtime_operators_need_the_manifests_word_and_those_that_open_files_are_refused_anyway() -> None:
    gelu = builders.with_operator("com.microsoft", "Gelu")
    with pytest.raises(InputError, match="set contrib_operators = true"):
        check(gelu)
    check(gelu, contrib_operators=True)
    with pytest.raises(InputError, match="EPContext, which is refused"):
        check(builders.with_operator("com.microsoft", "EPContext"), contrib_operators=True)


def test_an_operator_that_the_model_defines_itself_is_no_custom_one_but_its_inside_is_looked_at() -> None:
    def function(domain: str, inner: str) -> object:
        node = helper.make_node(inner, ["a"], ["b"], domain=domain)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("hidden", 1)]
        return helper.make_function("own", "Twice", ["a"], ["b"], [node], opsets)

    check(builders.with_operator("own", "Twice", functions=[function("", "Neg")]))
    with pytest.raises(InputError, match="hidden::Evil"):
        check(builders.with_operator("own", "Twice", functions=[function("hidden", "Evil")]))


def test_the_maps_of_a_classifier_are_described_as_what_is_sent() -> None:
    facts = parse(builders.classifying(["cat", "dog"]))
    assert facts.outputs == (
        TensorFact("label", "string", (1, "n")),
        TensorFact("probability", "float32", ("rows", "labels")),
        TensorFact("probability.labels", "string", ("labels",)),
    )
    assert parse(builders.classifying(["a"], kind="sequence")).outputs[1] == TensorFact("probability", "sequence", ())


@pytest.mark.parametrize(
    ("data", "arithmetic"),
    [
        (builders.doubling(), "fp32"),
        (builders.doubling_in(TensorProto.FLOAT16), "fp16"),
        (builders.doubling_in(TensorProto.BFLOAT16), "bf16"),
        (builders.naming(), "fp32"),
        (builders.with_operator("", "DynamicQuantizeLinear"), "int8"),
        (builders.with_operator("com.microsoft", "QAttention"), "int8"),
        (builders.with_operator("", "DequantizeLinear"), "fp32"),
    ],
)
def test_the_comparison_class_is_the_arithmetic(data: bytes, arithmetic: str) -> None:
    assert comparison_class_of(parse(data)) == arithmetic


def test_facts_of_other_rules_are_not_believed() -> None:
    text = facts_to_json(parse(builders.doubling()))
    with pytest.raises(ValueError, match="other rules"):
        facts_from_json(text.replace('"rules": 2', '"rules": 1'))
