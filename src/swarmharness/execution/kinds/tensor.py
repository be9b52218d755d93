"""Runs any ONNX model on named tensors, checked against what the model takes; it runs in workers alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swarmharness.errors import InputError
from swarmharness.execution.items import ITEM_BYTES_MAX
from swarmharness.execution.kinds.onnx_values import check_output, output_arrays, tensor_type
from swarmharness.execution.kinds.session import Array, SessionFactory
from swarmharness.execution.manifest_table import suggestion
from swarmharness.execution.ports import ItemOutput
from swarmharness.execution.skill import TensorInput
from swarmharness.execution.tensor_arrays import BFLOAT16, from_arrays, to_arrays
from swarmharness.execution.tensor_codec import (
    NOTHING_BUT_NAN,
    STRING,
    decode_tensors,
    encode_tensors,
    nothing_but_nan,
)

SAMPLE_SIZES = (1, 2, 8, 32, 224)
"""What a made input has for the dimensions that are free, until the model takes one."""
SAMPLE_ELEMENTS_MAX = ITEM_BYTES_MAX // 8
"""A made input is one that could be sent."""


class TensorRunner:
    """The kind `tensor`."""

    def __init__(self, files: Mapping[str, Path], sessions: SessionFactory, declared: Sequence[TensorInput]) -> None:
        self._session = sessions.open(files["model.onnx"])
        self._inputs = {tensor.name: _input(tensor) for tensor in self._session.inputs}
        for tensor in self._session.outputs:
            check_output(tensor.name, tensor.type)
        self._narrow_outputs = {tensor.name for tensor in self._session.outputs if tensor_type(tensor.type) == BFLOAT16}
        for tensor in declared:
            self._narrow(tensor)

    def run(self, items: Sequence[bytes], parameters: Mapping[str, Any]) -> list[ItemOutput]:
        """See `Runner`: an item and an output are named tensors. Items are run one by one, in their own shapes."""
        return [self._run_one(item) for item in items]

    def samples(self) -> Iterator[bytes]:
        """See `Runner`: zeros, then ones, of the declared sample shapes or of free dimensions of ever larger sizes."""
        free = any(isinstance(size, str) for tensor in self._inputs.values() for size in _sample_shape(tensor))
        narrow = {name for name, tensor in self._inputs.items() if tensor.dtype == BFLOAT16}
        for size in SAMPLE_SIZES if free else SAMPLE_SIZES[:1]:
            shapes = {name: _sized(tensor, size) for name, tensor in self._inputs.items()}
            if sum(map(math.prod, shapes.values())) > SAMPLE_ELEMENTS_MAX:
                return
            for value in (0, 1):
                arrays = {name: _sample(tensor, shapes[name], value) for name, tensor in self._inputs.items()}
                yield encode_tensors(from_arrays(arrays, bfloat16=narrow))

    def _run_one(self, item: bytes) -> ItemOutput:
        try:
            arrays = to_arrays(decode_tensors(item))
            self._check(arrays)
        except InputError as error:
            return ItemOutput(b"", str(error))
        results = self._session.run(arrays)
        try:
            named: dict[str, Array] = {}
            for tensor, result in zip(self._session.outputs, results, strict=True):
                named |= output_arrays(tensor.name, tensor.type, result)
            tensors = from_arrays(named, bfloat16=self._narrow_outputs)
            if nothing_but_nan(tensors):
                raise InputError(NOTHING_BUT_NAN)
            return ItemOutput(encode_tensors(tensors))
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
            if _dtype(array) != ("float32" if tensor.dtype == BFLOAT16 else tensor.dtype):
                raise InputError(f"the input {name!r} has the type {_dtype(array)}, expected {tensor.dtype}")
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
    dtype = tensor_type(tensor.type)
    if dtype is None:
        raise InputError(f"the model's input {tensor.name!r} is a {tensor.type}, which cannot be sent")
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in tensor.shape)
    return TensorInput(tensor.name, dtype, shape)


def _dtype(array: Array) -> str:
    return STRING if array.dtype == object else array.dtype.name


def _sample_shape(tensor: TensorInput) -> tuple[int | str, ...]:
    return tensor.shape if tensor.sample_shape is None else tensor.sample_shape


def _sized(tensor: TensorInput, size: int) -> tuple[int, ...]:
    return tuple(given if isinstance(given, int) else size for given in _sample_shape(tensor))


def _sample(tensor: TensorInput, shape: tuple[int, ...], value: int) -> Array:
    filling = value if tensor.sample_value is None else tensor.sample_value
    if tensor.dtype == STRING:
        return np.full(shape, str(filling), object)
    try:
        return np.full(shape, filling, "float32" if tensor.dtype == BFLOAT16 else tensor.dtype)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"the sample_value {filling!r} of {tensor.name!r} is no {tensor.dtype}") from None


def _shape(shape: Sequence[int | str]) -> str:
    return "[" + ", ".join(str(size) for size in shape) + "]"
