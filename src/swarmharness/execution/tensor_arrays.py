"""Converts between tensors and numpy arrays and `.npz` files; only worker processes and commands import it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from swarmharness.errors import InputError
from swarmharness.execution.skill import TENSOR_TYPES
from swarmharness.execution.tensor_codec import Tensor

Array = npt.NDArray[Any]


def to_arrays(tensors: tuple[Tensor, ...]) -> dict[str, Array]:
    """Return each tensor as a read-only array that shares its memory."""
    return {
        tensor.name: np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)
        for tensor in tensors
    }


def from_arrays(arrays: Mapping[str, Array]) -> tuple[Tensor, ...]:
    """Return each array as a tensor; InputError for an element type that has no wire form."""
    tensors = []
    for name, array in arrays.items():
        dtype = array.dtype.newbyteorder("=").name
        if dtype not in TENSOR_TYPES:
            raise InputError(f"tensor {name!r} has the type {dtype}; the types are {', '.join(TENSOR_TYPES)}")
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)
        tensors.append(Tensor(name, dtype, tuple(int(size) for size in array.shape), little.tobytes()))
    return tuple(tensors)


def read_npz(data: bytes, where: str, *, size_bytes_max: int) -> tuple[Tensor, ...]:
    """Return the tensors of a `.npz` file, or of one `.npy` named `x`; InputError names `where` and the problem."""
    try:
        if zipfile.is_zipfile(io.BytesIO(data)):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                unpacked_bytes = sum(info.file_size for info in archive.infolist())
            if unpacked_bytes > size_bytes_max:
                raise InputError(f"{where}: {unpacked_bytes} bytes unpacked; at most {size_bytes_max} are allowed")
            with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
                return from_arrays({name: loaded[name] for name in loaded.files})
        return from_arrays({"x": np.load(io.BytesIO(data), allow_pickle=False)})
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{where}: not an .npz file of numbers: {error}") from None


def write_npz(tensors: tuple[Tensor, ...]) -> bytes:
    """Return the tensors as the bytes of an `.npz` file."""
    stream = io.BytesIO()
    arrays: dict[str, Any] = to_arrays(tensors)
    np.savez(stream, **arrays)
    return stream.getvalue()
