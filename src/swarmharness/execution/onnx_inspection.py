"""Says what an ONNX file holds and refuses what we would not run; it parses in a subprocess and never runs a model.

The node never imports `onnx`: `python -m swarmharness.execution.onnx_inspection PATH` parses and prints facts as JSON,
and the decision is taken on those facts by a pure function.

Allowed operators are those of ONNX itself and of `ai.onnx.ml`, which Magika declares; that covers every shipped model.
ONNX Runtime's extra operators (`com.microsoft`) run no foreign code but are less tested, and one of them, EPContext,
opens files; a manifest may ask for them with `contrib_operators = true`, without EPContext. All external data is
refused: files in the store are named by digest, so a model can only mean a file that we did not check.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from swarmharness.errors import InputError, UnavailableError
from swarmharness.execution.limits import forbid_core_dumps, limit_memory
from swarmharness.json_text import read_json

MODEL_BYTES_MAX = 2 * 1024**3 - 1
"""What one protobuf message can hold; the default limit of `inspect_model`."""
INSPECTION_TIMEOUT_S = 120.0
RULES = 2
"""Changes when the facts below do, so that facts on disk from an older program are not used."""

_STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_CONTRIB_DOMAIN = "com.microsoft"
_READS_FILES = "com.microsoft::EPContext"
_NAMES_MAX = 64
_QUANTISED = (
    "QLinear",
    "QuantizeLinear",
    "DynamicQuantize",
    "MatMulInteger",
    "ConvInteger",
    "MatMulNBits",
    "QAttention",
)
"""How the names of operators begin that compute in integers."""


@dataclass(frozen=True, slots=True)
class TensorFact:
    """One input or output: its name, its element type as ONNX names it, its shape with names for free dimensions."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What a model file declares."""

    nodes: int
    opsets: tuple[tuple[str, int], ...]
    foreign_operators: tuple[str, ...]
    """Operators outside the standard domains that no function of the model itself defines, as `domain::name`."""
    external_paths: tuple[str, ...]
    inputs: tuple[TensorFact, ...]
    outputs: tuple[TensorFact, ...]
    dtypes: tuple[str, ...] = ()
    """The element types of its tensors."""
    quantised: bool = False
    """Whether it computes in integers that stand for fractions; weights alone that are kept so do not count."""


def comparison_class_of(facts: ModelFacts) -> str:
    """Return the arithmetic of a model, as a manifest names it."""
    if facts.quantised:
        return "int8"
    for dtype, name in (("bfloat16", "bf16"), ("float16", "fp16")):
        if dtype in facts.dtypes:
            return name
    return "fp64" if "float64" in facts.dtypes and "float32" not in facts.dtypes else "fp32"


def check_facts(facts: ModelFacts, name: str, *, contrib_operators: bool) -> None:
    """Raise InputError when a model with these facts must not be run."""
    if not facts.nodes or not facts.outputs or not facts.opsets:
        raise InputError(f"{name} is not an ONNX model: it has no graph")
    if facts.external_paths:
        raise InputError(
            f"{name} keeps tensors in other files ({facts.external_paths[0]!r}), which is refused; "
            "`swarmharness skills add MODEL.onnx` puts them into one, as does onnx.save(onnx.load(path), path)"
        )
    for operator in facts.foreign_operators:
        domain = operator.partition("::")[0]
        if domain == _CONTRIB_DOMAIN and operator != _READS_FILES:
            if contrib_operators:
                continue
            raise InputError(
                f"{name} uses ONNX Runtime's extra operator {operator}; "
                "if you trust the model, set contrib_operators = true under [model] in its skill.toml"
            )
        raise InputError(
            f"{name} uses the custom operator {operator}, which is refused; export it with standard operators"
        )


def inspect_model(path: Path, name: str, *, size_bytes_max: int = MODEL_BYTES_MAX) -> ModelFacts:
    """Return the facts of the model at `path`, called `name` in errors; it blocks for some 0.3 s.

    Raises InputError when the file is not an ONNX model, is too large, or takes too much time or memory to parse.
    """
    check_size(path, name, size_bytes_max)
    command = [sys.executable, "-P", "-m", __name__, str(path)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=INSPECTION_TIMEOUT_S)
    except OSError as error:
        raise UnavailableError(
            f"{name} could not be inspected: no process could be started ({error.strerror})"
        ) from None
    except subprocess.TimeoutExpired:
        raise InputError(f"{name} could not be parsed within {INSPECTION_TIMEOUT_S:.0f} s") from None
    if done.returncode == 3:
        raise InputError(f"{name} is not an ONNX model: {done.stdout.decode(errors='replace').strip()}")
    if done.returncode != 0:
        raise InputError(f"{name} is not an ONNX model that can be parsed (the parser ended with {done.returncode})")
    try:
        return facts_from_json(done.stdout.decode())
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name} could not be inspected: {error}") from None


def check_size(path: Path, name: str, size_bytes_max: int = MODEL_BYTES_MAX) -> None:
    """Raise InputError when the file at `path`, called `name`, cannot be read or has more bytes."""
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}") from None
    if size_bytes > size_bytes_max:
        raise InputError(f"{name} has {size_bytes} bytes; at most {size_bytes_max} are allowed")


def facts_to_json(facts: ModelFacts) -> str:
    """Return the facts as one line of JSON."""
    return json.dumps({"rules": RULES, **asdict(facts)})


def facts_from_json(text: str) -> ModelFacts:
    """Return the facts in `text`; ValueError or KeyError when they are of other rules or damaged."""
    value: dict[str, Any] = read_json(text)
    if value.pop("rules") != RULES:
        raise ValueError("facts of other rules")
    return ModelFacts(
        nodes=value["nodes"],
        opsets=tuple((domain, version) for domain, version in value["opsets"]),
        foreign_operators=tuple(value["foreign_operators"]),
        external_paths=tuple(value["external_paths"]),
        inputs=tuple(_tensor(entry) for entry in value["inputs"]),
        outputs=tuple(_tensor(entry) for entry in value["outputs"]),
        dtypes=tuple(value["dtypes"]),
        quantised=value["quantised"],
    )


def _tensor(entry: dict[str, Any]) -> TensorFact:
    return TensorFact(entry["name"], entry["dtype"], tuple(entry["shape"]))


def parse(data: bytes) -> ModelFacts:
    """Return the facts of the model in `data`; ValueError when it is none. For the subprocess, which has `onnx`."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from None
    defined = {(function.domain, function.name) for function in model.functions}
    foreign: dict[str, None] = {}
    external: dict[str, None] = {}
    types: set[int] = set()
    nodes, quantised = 0, False
    for message in _messages(model):
        if isinstance(message, onnx.NodeProto):
            nodes += 1
            quantised = quantised or message.op_type.startswith(_QUANTISED)
            if message.op_type == "Cast":
                types |= {attribute.i for attribute in message.attribute if attribute.name == "to"}
            if message.domain not in _STANDARD_DOMAINS and (message.domain, message.op_type) not in defined:
                foreign[_clean(f"{message.domain}::{message.op_type}")] = None
        elif isinstance(message, onnx.TypeProto.Tensor):
            types.add(message.elem_type)
        elif isinstance(message, onnx.TensorProto):
            types.add(message.data_type)
            is_external = message.data_location == onnx.TensorProto.EXTERNAL
            if is_external or message.external_data:
                paths = [entry.value for entry in message.external_data if entry.key == "location"]
                external[_clean(paths[0]) if paths else ""] = None
    initialised = {tensor.name for tensor in model.graph.initializer}
    return ModelFacts(
        nodes=nodes,
        opsets=tuple((_clean(opset.domain), opset.version) for opset in model.opset_import)[:_NAMES_MAX],
        foreign_operators=tuple(foreign)[:_NAMES_MAX],
        external_paths=tuple(external)[:_NAMES_MAX],
        inputs=tuple(_fact(value) for value in model.graph.input if value.name not in initialised)[:_NAMES_MAX],
        outputs=tuple(fact for value in model.graph.output for fact in _output_facts(value))[:_NAMES_MAX],
        dtypes=tuple(sorted(map(_dtype, types))),
        quantised=quantised,
    )


def _messages(root: Any) -> Iterator[Any]:
    """Yield every message inside `root`: graphs, functions, attributes and tensors, however deep."""
    waiting = [root]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if hasattr(value, "ListFields"):
                waiting.append(value)
            else:
                waiting.extend(value)


def _dtype(number: int) -> str:
    import onnx

    names: dict[int, str] = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    name = names.get(number, "unknown")
    return {"float": "float32", "double": "float64"}.get(name, name)


def _output_facts(value: Any) -> Iterator[TensorFact]:
    """Yield the tensors that an output is sent as: a map is a table and its labels (see `kinds.onnx_values`)."""
    in_rows = value.type.WhichOneof("value") == "sequence_type"
    inner = value.type.sequence_type.elem_type if in_rows else value.type
    if inner.WhichOneof("value") != "map_type":
        yield _fact(value)
        return
    table: tuple[int | str, ...] = ("rows", "labels") if in_rows else ("labels",)
    name = _clean(value.name)
    yield TensorFact(name, _dtype(inner.map_type.value_type.tensor_type.elem_type), table)
    yield TensorFact(f"{name}.labels", _dtype(inner.map_type.key_type), ("labels",))


def _fact(value: Any) -> TensorFact:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorFact(_clean(value.name), (kind or "unknown").removesuffix("_type"), ())
    tensor = value.type.tensor_type
    shape = tuple(
        size.dim_value if size.HasField("dim_value") else _clean(size.dim_param) or "?" for size in tensor.shape.dim
    )
    return TensorFact(_clean(value.name), _dtype(tensor.elem_type), shape[:_NAMES_MAX])


def _clean(text: str) -> str:
    """Return at most 200 printable characters: the text goes to terminals and logs."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def main() -> None:
    """Print the facts of the file named on the command line; exit status 3 and a reason when it is no model."""
    path = Path(sys.argv[1])
    forbid_core_dumps()
    limit_memory(512 * 1024**2 + 6 * path.stat().st_size)
    try:
        print(facts_to_json(parse(path.read_bytes())))
    except (ValueError, MemoryError) as error:
        print(str(error).splitlines()[0] if str(error) else type(error).__name__)
        sys.exit(3)


if __name__ == "__main__":
    main()
