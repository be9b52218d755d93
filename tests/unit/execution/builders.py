"""Makes small ONNX models and skill folders for the tests; nothing here comes from the network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from swarmharness.execution.catalog import InstalledSkill, read_skill
from swarmharness.execution.model_store import ModelStore
from swarmharness.execution.tensor_arrays import from_arrays
from swarmharness.execution.tensor_codec import encode_tensors


def model(
    nodes: list[Any],
    inputs: Mapping[str, tuple[int, list[int | str]]],
    outputs: Mapping[str, tuple[int, list[int | str] | None]],
    *,
    initializers: list[Any] | None = None,
    domains: tuple[str, ...] = (),
    functions: list[Any] | None = None,
) -> Any:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, (dtype, shape) in outputs.items()],
        initializers or [],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, functions=functions or [])


def doubling() -> bytes:
    """`y = x + x` for `x` float32 [n, 3]."""
    nodes = [helper.make_node("Add", ["x", "x"], ["y"])]
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, ["n", 3])}
    return bytes(model(nodes, floats, {"y": (TensorProto.FLOAT, ["n", 3])}).SerializeToString())


def filling() -> bytes:
    """`y` is a float32 vector of ones as long as `count` says, so the item decides how much memory the model takes."""
    one = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["count"], ["ones"], value=one),
        helper.make_node("ReduceSum", ["ones"], ["y"], keepdims=0),
    ]
    built = model(nodes, {"count": (TensorProto.INT64, [1])}, {"y": (TensorProto.FLOAT, [])})
    return bytes(built.SerializeToString())


def counting() -> bytes:
    """`y` counts to the int64 scalar `n` one by one, so the item decides how long the model takes."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_out"]),
            helper.make_node("Add", ["seen", "step"], ["seen_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("seen", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("seen_out", TensorProto.INT64, []),
        ],
        [helper.make_tensor("step", TensorProto.INT64, [], [1])],
    )
    nodes = [helper.make_node("Loop", ["n", "yes", "zero"], ["y"], body=body)]
    initializers = [
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
        helper.make_tensor("zero", TensorProto.INT64, [], [0]),
    ]
    built = model(nodes, {"n": (TensorProto.INT64, [])}, {"y": (TensorProto.INT64, [])}, initializers=initializers)
    return bytes(built.SerializeToString())


def holding() -> bytes:
    """Makes `count` ones, then counts to `n` and adds them up, so the memory is held for as long as the item says."""
    counter = onnx.load_from_string(counting())
    one = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    nodes = [
        helper.make_node("ConstantOfShape", ["count"], ["ones"], value=one),
        *counter.graph.node,
        helper.make_node("Cast", ["y"], ["y_float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "y_float"], ["total"]),
    ]
    inputs: dict[str, Any] = {"count": (TensorProto.INT64, [1]), "n": (TensorProto.INT64, [])}
    initializers = list(counter.graph.initializer)
    return serialized(model(nodes, inputs, {"total": (TensorProto.FLOAT, [])}, initializers=initializers))


def picky() -> bytes:
    """`y` has the shape that `shape` asks of four numbers, so an item can make the model itself raise."""
    four = helper.make_tensor("four", TensorProto.FLOAT, [4], [1.0, 2.0, 3.0, 4.0])
    nodes = [helper.make_node("Reshape", ["four", "shape"], ["y"])]
    outputs: dict[str, Any] = {"y": (TensorProto.FLOAT, None)}
    built = model(nodes, {"shape": (TensorProto.INT64, ["k"])}, outputs, initializers=[four])
    return bytes(built.SerializeToString())


def doubling_in(dtype: int) -> bytes:
    """`y = x + x` for `x` [n] of any number type, added up in float32."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["wide", "wide"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["y"], to=dtype),
    ]
    return serialized(model(nodes, {"x": (dtype, ["n"])}, {"y": (dtype, ["n"])}))


def naming() -> bytes:
    """`number` of each of the texts `words` [n] (cat 1, dog 2, others 0), and the `words` again."""
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["words"],
            ["number"],
            domain="ai.onnx.ml",
            keys_strings=["cat", "dog"],
            values_int64s=[1, 2],
            default_int64=0,
        ),
        helper.make_node("Identity", ["words"], ["again"]),
    ]
    outputs: dict[str, Any] = {"number": (TensorProto.INT64, ["n"]), "again": (TensorProto.STRING, ["n"])}
    built = model(nodes, {"words": (TensorProto.STRING, ["n"])}, outputs)
    built.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return serialized(built)


def classifying(labels: list[str] | list[int], *, kind: str = "seq") -> bytes:
    """A classifier as scikit-learn's converters make it: `label`, and `probability` by ZipMap, or as a sequence."""
    keys = "classlabels_strings" if isinstance(labels[0], str) else "classlabels_int64s"
    classes = helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["label"], domain="ai.onnx.ml")
    nodes = [helper.make_node("ArgMax", ["x"], ["best"], axis=1, keepdims=0), classes]
    label_type = TensorProto.STRING if isinstance(labels[0], str) else TensorProto.INT64
    value = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    if kind == "seq":
        nodes.append(helper.make_node("ZipMap", ["x"], ["probability"], domain="ai.onnx.ml", **{keys: labels}))
        value = helper.make_map_type_proto(label_type, value)
    else:
        nodes.append(helper.make_node("SplitToSequence", ["x"], ["probability"], axis=0))
    names = helper.make_tensor("names", label_type, [1, len(labels)], labels)
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(labels)])],
        [
            helper.make_tensor_value_info("label", label_type, [1, "n"]),
            helper.make_value_info("probability", helper.make_sequence_type_proto(value)),
        ],
        [names],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    return serialized(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def of_opset(version: int) -> bytes:
    """A model that says it is of this opset."""
    built = onnx.load_from_string(doubling())
    built.opset_import[0].version = version
    return serialized(built)


def endless() -> bytes:
    """Counts to 2^60 whatever `x` is."""
    counter = onnx.load_from_string(counting())
    limit = helper.make_tensor("n", TensorProto.INT64, [], [2**60])
    nodes = [*counter.graph.node, helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Add", ["z", "x"], ["sum"]))
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, [1])}
    initializers = [*counter.graph.initializer, limit]
    return serialized(model(nodes, floats, {"sum": (TensorProto.FLOAT, [1])}, initializers=initializers))


def dividing() -> bytes:
    """`y` is `x` [n] in rows of 8, so it answers nothing shorter."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 8])
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, ["n"])}
    return serialized(model(nodes, floats, {"y": (TensorProto.FLOAT, ["m", 8])}, initializers=[shape]))


def rigid() -> bytes:
    """Takes element 1,000,000 of `x` [n], so it answers nothing that is shorter."""
    index = helper.make_tensor("index", TensorProto.INT64, [], [1_000_000])
    nodes = [helper.make_node("Gather", ["x", "index"], ["y"])]
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, ["n"])}
    return serialized(model(nodes, floats, {"y": (TensorProto.FLOAT, [])}, initializers=[index]))


def with_weight(weight: Any) -> bytes:
    """`y = x + w` for `x` float32 [3]."""
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, [3])}
    initializers = [onnx.numpy_helper.from_array(weight, "w")]
    return serialized(model(nodes, floats, {"y": (TensorProto.FLOAT, [3])}, initializers=initializers))


def with_external_data(location: str) -> bytes:
    """A model whose one weight lies in another file."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    nodes = [helper.make_node("Add", ["x", "w"], ["y"])]
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, [3])}
    built = model(nodes, floats, {"y": (TensorProto.FLOAT, [3])}, initializers=[weight])
    return bytes(built.SerializeToString())


def with_operator(domain: str, name: str, *, nested: bool = False, functions: list[Any] | None = None) -> bytes:
    """A model with an operator of a foreign domain, if `nested` inside a branch."""
    foreign = helper.make_node(name, ["x"], ["y"], domain=domain)
    floats: dict[str, Any] = {"x": (TensorProto.FLOAT, [3])}
    nodes = [foreign]
    initializers = []
    if nested:
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
        branch = helper.make_graph([foreign], "branch", [], [result])
        nodes = [helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)]
        initializers = [helper.make_tensor("yes", TensorProto.BOOL, [], [True])]
    outputs: dict[str, Any] = {"y": (TensorProto.FLOAT, [3])}
    built = model(nodes, floats, outputs, initializers=initializers, domains=(domain,), functions=functions)
    return bytes(built.SerializeToString())


def manifest_text(data: bytes, *, name: str = "toy", size_bytes: int | None = None, **model_keys: object) -> str:
    """A `tensor` skill's manifest whose one file is `data`, from the skill's own folder."""
    timeout_secs = model_keys.pop("timeout_secs", 60)
    keys = {
        "work_microcredits": 10,
        "comparison_class": "fp32",
        "batch_items": 8,
        "memory_limit_mib": 512,
        **model_keys,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in keys.items()]
    return "\n".join(
        [
            "[skill]",
            f'name = "{name}"',
            'version = "1.0.0"',
            'description = "a toy"',
            f"timeout_secs = {timeout_secs}",
            "[model]",
            'kind = "tensor"',
            *lines,
            "[[model.files]]",
            'name = "model.onnx"',
            f'sha256 = "{hashlib.sha256(data).hexdigest()}"',
            f"size_bytes = {len(data) if size_bytes is None else size_bytes}",
            'sources = [{ file = "model.onnx" }]',
        ]
    )


def skill_folder(parent: Path, data: bytes, *, name: str = "toy", **keys: Any) -> Path:
    """Write a skill folder and return it."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(data)
    (folder / "skill.toml").write_text(manifest_text(data, name=name, **keys))
    return folder


def installed(tmp_path: Path, data: bytes, *, name: str = "toy", **keys: Any) -> tuple[InstalledSkill, ModelStore]:
    """Return a skill whose model is in a store."""
    skill = read_skill(skill_folder(tmp_path / "skills", data, name=name, **keys))
    store = ModelStore(tmp_path / "models")
    store.fetch(skill.manifest, skill.folder)
    return skill, store


def item(**arrays: Any) -> bytes:
    """Encode a `tensor` item."""
    return encode_tensors(from_arrays({name: np.asarray(array) for name, array in arrays.items()}))


def floats(values: Any) -> Any:
    """Return a float32 array."""
    return np.asarray(values, np.float32)


def serialized(built: Any) -> bytes:
    """Return a model's bytes."""
    assert isinstance(built, onnx.ModelProto)
    return bytes(built.SerializeToString())


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')
