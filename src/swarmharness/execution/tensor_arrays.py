"""Converts between tensors and numpy arrays and `.npz` files; only worker processes and commands import it.

NumPy has no bfloat16: such tensors are arrays of float32, which holds the same numbers. Texts are `str` objects.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Container, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from swarmharness.errors import InputError, cause_text
from swarmharness.execution.skill import TENSOR_TYPES
from swarmharness.execution.tensor_codec import STRING, Tensor, string_tensor, strings_of

Array = npt.NDArray[Any]

BFLOAT16 = "bfloat16"
_TEXTS = "UOT"
"""Kinds of arrays that may hold texts: fixed width, objects, and StringDType of NumPy 2."""


def to_array(tensor: Tensor) -> Array:
    """Return a tensor as an array: read-only and sharing its memory, or else a copy. InputError: a text is no UTF-8."""
    if tensor.dtype == STRING:
        texts = np.empty(tensor.elements, object)
        texts[:] = strings_of(tensor)
        return texts.reshape(tensor.shape)
    if tensor.dtype == BFLOAT16:
        return from_bfloat16_bits(np.frombuffer(tensor.data, "<u2")).reshape(tensor.shape)
    return np.frombuffer(tensor.data, np.dtype(tensor.dtype).newbyteorder("<")).reshape(tensor.shape)


def to_arrays(tensors: tuple[Tensor, ...]) -> dict[str, Array]:
    """Return each tensor by name; see `to_array`."""
    return {tensor.name: to_array(tensor) for tensor in tensors}


def from_arrays(arrays: Mapping[str, Array], *, bfloat16: Container[str] = ()) -> tuple[Tensor, ...]:
    """Return each array as a tensor, the float32 arrays named in `bfloat16` as such.

    An array of `ml_dtypes.bfloat16` becomes one too. InputError for an element type that has no wire form.
    """
    return tuple(_tensor(name, array, narrow=name in bfloat16) for name, array in arrays.items())


def _tensor(name: str, array: Array, *, narrow: bool) -> Tensor:
    shape = tuple(int(size) for size in array.shape)
    if array.dtype.kind in _TEXTS:
        texts = array.ravel().tolist()
        if not all(isinstance(text, str) for text in texts):
            raise InputError(f"tensor {name!r} is an array of objects, of which not all are texts")
        return string_tensor(name, shape, texts)
    dtype = array.dtype.newbyteorder("=").name
    if dtype in (BFLOAT16, "void16"):  # the latter is how NumPy reads a .npy file of the former
        dtype, array = BFLOAT16, np.ascontiguousarray(array).view(np.uint16)
    elif narrow:
        dtype, array = BFLOAT16, bfloat16_bits(array)
    elif dtype not in TENSOR_TYPES:
        raise InputError(f"tensor {name!r} has the type {dtype}; the types are {', '.join(TENSOR_TYPES)}")
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return Tensor(name, dtype, shape, little.tobytes())


def read_npz(data: bytes, where: str, *, size_bytes_max: int) -> tuple[Tensor, ...]:
    """Return the tensors of a `.npz` file, or of one `.npy` named `x`; InputError names `where` and the problem."""
    try:
        return from_arrays(_load_npz(data, size_bytes_max))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except Exception as error:  # numpy, zipfile and zlib raise whatever they stumble over
        raise InputError(f"{where}: not an .npz file of numbers and texts: {cause_text(error)}") from None


def _load_npz(data: bytes, size_bytes_max: int) -> dict[str, Array]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        _check_claim(io.BytesIO(data), len(data))
        return {"x": np.load(io.BytesIO(data), allow_pickle=False)}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        unpacked_bytes = sum(info.file_size for info in archive.infolist())
        if unpacked_bytes > size_bytes_max:
            raise InputError(f"{unpacked_bytes} bytes unpacked; at most {size_bytes_max} are allowed")
        for info in archive.infolist():
            with archive.open(info) as member:
                _check_claim(member, info.file_size)
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{name} in it is no array")
    return arrays


def _check_claim(stream: IO[bytes], size_bytes: int) -> None:
    """Raise InputError for a `.npy` file whose header claims more than there is: memory would be taken for it."""
    if stream.read(8) != b"\x93NUMPY\x01\x00":
        return  # of a later version, which only odd types need, or no array: what reads it finds that out
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    claimed_bytes = math.prod(shape) * dtype.itemsize
    if claimed_bytes > size_bytes and not dtype.hasobject:
        raise InputError(f"its header claims {claimed_bytes} bytes of numbers, and it has {size_bytes} in all")


def bfloat16_bits(array: Array) -> npt.NDArray[np.uint16]:
    """Return float32 numbers as the bits of bfloat16 ones, rounded as `tensor_values.narrowed` does."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(array), bits >> 16 | 0x40, rounded).astype(np.uint16)


def from_bfloat16_bits(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """Return the float32 numbers that the bits of bfloat16 ones mean."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
