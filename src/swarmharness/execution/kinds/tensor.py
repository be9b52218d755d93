"""Runs any ONNX model on named tensors, checked against what the model takes; it runs in workers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swarmharness.errors import InputError
from swarmharness.execution.kinds.session import Array, SessionFactory
from swarmharness.execution.manifest_table import suggestion
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.skill import TensorInput
from swarmharness.execution.tensor_arrays import from_arrays, to_arrays
from swarmharness.execution.tensor_codec import decode_tensors, encode_tensors

_ONNX_TYPES = {"float": "float32", "double": "float64"}


class TensorRunner:
    """The kind `tensor`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory, declared: Sequence[TensorInput]) -> None:
        self._session = sessions.open(files["model.onnx"])
        self._inputs = {tensor.name: _input(tensor) for tensor in self._session.inputs}
        for tensor in declared:
            self._narrow(tensor)

    def run(self, items: Sequence[bytes]) -> list[ItemOutput]:
        """See `Runner`: an item and an output are named tensors. Items are run one by one, in their own shapes."""
        return [self._run_one(item) for item in items]

    def sample(self) -> bytes:
        """See `Runner`: zeros, with 1 for every free dimension."""
        zeros = {
            tensor.name: np.zeros([size if isinstance(size, int) else 1 for size in tensor.shape], tensor.dtype)
            for tensor in self._inputs.values()
        }
        return encode_tensors(from_arrays(zeros))

    def _run_one(self, item: bytes) -> ItemOutput:
        try:
            arrays = to_arrays(decode_tensors(item))
            self._check(arrays)
        except InputError as error:
            return ItemOutput(b"", str(error))
        results: list[Any] = list(self._session.run(arrays))
        named = {tensor.name: result for tensor, result in zip(self._session.outputs, results, strict=True)}
        for name, result in named.items():
            if not isinstance(result, np.ndarray):
                return ItemOutput(b"", f"the output {name!r} is no tensor and cannot be sent")
        try:
            return ItemOutput(encode_tensors(from_arrays(named)))
        except InputError as error:
            return ItemOutput(b"", f"output: {error}")

    def _check(self, arrays: Mapping[str, Array]) -> None:
        for name in arrays:
            if name not in self._inputs:
                known = ", ".join(self._inputs)
                raise InputError(f"the model has no input {name!r}{suggestion(name, self._inputs)} (inputs: {known})")
        for name, tensor in self._inputs.items():
            if name not in arrays:
                raise InputError(f"the input {name!r} ({tensor.dtype}, shape {_shape(tensor.shape)}) is missing")
            array = arrays[name]
            if array.dtype.name != tensor.dtype:
                raise InputError(f"the input {name!r} has the type {array.dtype.name}, expected {tensor.dtype}")
            fits = len(array.shape) == len(tensor.shape) and all(
                isinstance(size, str) or size == given for size, given in zip(tensor.shape, array.shape, strict=True)
            )
            if not fits:
                raise InputError(
                    f"the input {name!r} has the shape {_shape(array.shape)}, expected {_shape(tensor.shape)}"
                )

    def _narrow(self, declared: TensorInput) -> None:
        """Let the manifest fix free dimensions, and nothing else."""
        actual = self._inputs.get(declared.name)
        if actual is None:
            raise InputError(f"skill.toml declares an input {declared.name!r}; the model has {', '.join(self._inputs)}")
        fits = len(actual.shape) == len(declared.shape) and all(
            isinstance(size, str) or size == wanted for size, wanted in zip(actual.shape, declared.shape, strict=True)
        )
        if actual.dtype != declared.dtype or not fits:
            raise InputError(
                f"skill.toml declares {declared.name!r} as {declared.dtype} {_shape(declared.shape)}; "
                f"the model takes {actual.dtype} {_shape(actual.shape)}"
            )
        self._inputs[declared.name] = declared


def _input(tensor: Any) -> TensorInput:
    inner = str(tensor.type).removeprefix("tensor(").removesuffix(")")
    if str(tensor.type) == inner:
        raise InputError(f"the model's input {tensor.name!r} is a {tensor.type}, which cannot be sent")
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in tensor.shape)
    return TensorInput(tensor.name, _ONNX_TYPES.get(inner, inner), shape)


def _shape(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
