"""Converts between named tensors and the values that ONNX Runtime takes and gives; it runs in workers alone.

Beside tensors there are the maps that scikit-learn's converters put out (ZipMap): `seq(map(K, tensor(V)))`, a row for
each, and `map(K, tensor(V))`. An output `p` of that kind becomes two tensors: `p`, with a column for each key, and
`p.labels`, the keys. All else (sequences, optional values, complex and four-bit numbers) has no form that can be sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from swarmharness.errors import InputError
from swarmharness.execution.kinds.session import Array
from swarmharness.execution.skill import TENSOR_TYPES

LABELS = ".labels"
_TYPES = {"float": "float32", "double": "float64"}
_MAP = re.compile(r"(seq\()?map\((\w+),tensor\((\w+)\)\)\)?")


def tensor_type(onnx_type: str) -> str | None:
    """Return the element type of `tensor(T)` as the wire names it; None when such a value cannot be sent."""
    if not (onnx_type.startswith("tensor(") and onnx_type.endswith(")")):
        return None
    inner = onnx_type[len("tensor(") : -1]
    dtype = _TYPES.get(inner, inner)
    return dtype if dtype in TENSOR_TYPES else None


def check_output(name: str, onnx_type: str) -> None:
    """Raise InputError when an output of this type can never be sent."""
    found = _MAP.fullmatch(onnx_type)
    columns = found and {_TYPES.get(part, part) for part in found.groups()[1:]}
    if tensor_type(onnx_type) is None and not (columns and columns <= set(TENSOR_TYPES)):
        raise InputError(f"the model's output {name!r} is a {onnx_type}, which cannot be sent")


def output_arrays(name: str, onnx_type: str, value: Any) -> dict[str, Array]:
    """Return one output as arrays by name; InputError when its rows have different keys."""
    found = _MAP.fullmatch(onnx_type)
    if found is None:
        return {name: np.asarray(value)}
    rows: Sequence[dict[Any, Any]] = value if found[1] else [value]
    keys = list(rows[0]) if rows else []
    if any(row.keys() != rows[0].keys() for row in rows):
        raise InputError(f"the rows of {name!r} have different keys, which cannot be sent")
    shape = (len(rows), len(keys)) if found[1] else (len(keys),)
    table = np.array([row[key] for row in rows for key in keys], _numpy_type(found[3])).reshape(shape)
    return {name: table, name + LABELS: np.array(keys, _numpy_type(found[2]))}


def _numpy_type(onnx_type: str) -> Any:
    return object if onnx_type == "string" else _TYPES.get(onnx_type, onnx_type)
