"""Writes tensors to `.npy` and `.npz` files as they come, holding one at a time; it never needs numpy.

The format is NumPy's own, version 1.0: a magic, a header with type and shape, and the elements, last dimension fastest.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import IO, BinaryIO

from swarmharness.errors import ProtocolError
from swarmharness.execution.tensor_codec import STRING, Tensor, strings_of
from swarmharness.execution.tensor_values import widened

HEADER_BYTES = 128
"""Of a file whose number of rows is known last: room for any shape of an embedding."""
_COPY_BYTES = 1 << 20
_DESCRIPTIONS = {
    "bfloat16": "<f4",  # which holds the same numbers; the format has no bfloat16
    "bool": "|b1",
    "float16": "<f2",
    "float32": "<f4",
    "float64": "<f8",
    "int8": "|i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
    "uint8": "|u1",
    "uint16": "<u2",
    "uint32": "<u4",
    "uint64": "<u8",
}
TEXT_FILE_BYTES_MAX = 1 << 30
"""The format gives every text of an array the room of the longest."""
_NAN = {"float16": struct.pack("<e", float("nan")), "float32": struct.pack("<f", float("nan"))}


def npy_header(description: str, shape: tuple[int, ...], size_bytes: int = 0) -> bytes:
    """Return the header of a `.npy` file, padded to a multiple of 64 bytes, and to `size_bytes` at least."""
    text = f"{{'descr': '{description}', 'fortran_order': False, 'shape': {shape!r}, }}"
    length = 10 + len(text) + 1
    padded = max(size_bytes, (length + 63) // 64 * 64)
    body = text + " " * (padded - length) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body.encode("latin-1")


class RowFile:
    """A `.npy` file of equal tensors, one a row; rows that are left out are NaN."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._dtype = ""
        self._shape: tuple[int, ...] = ()
        self._empty = b""
        self._rows = 0
        self._skipped = 0

    def add(self, index: int, tensor: Tensor) -> None:
        """Write a row; rows come in ascending order. ProtocolError if it is unlike the first one."""
        if not self._dtype:
            self._dtype, self._shape = tensor.dtype, tensor.shape
            self._empty = _element(tensor.dtype) * tensor.elements
            self._file.write(bytes(HEADER_BYTES))
        if (tensor.dtype, tensor.shape) != (self._dtype, self._shape):
            raise ProtocolError(
                f"a {tensor.dtype} tensor of shape {list(tensor.shape)} among {self._dtype} ones of {list(self._shape)}"
            )
        self._fill(index)
        self._file.write(tensor.data)
        self._rows = index + 1

    def finish(self, rows: int) -> None:
        """Complete the file to so many rows."""
        self._fill(rows)
        self._file.seek(0)
        self._file.write(npy_header(_DESCRIPTIONS[self._dtype], (rows, *self._shape), HEADER_BYTES))
        self._file.seek(0, 2)

    def _fill(self, index: int) -> None:
        for _ in range(self._rows, index):
            self._file.write(self._empty)
        self._rows = max(self._rows, index)


class TensorArchive:
    """A `.npz` file of named tensors, those of item N as `name.N`; those of a single item keep their names."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self._first: tuple[int, tuple[Tensor, ...]] | None = None

    def add(self, index: int, tensors: tuple[Tensor, ...]) -> None:
        """Write one item's tensors."""
        if index == 0:  # how its tensors are called depends on whether another item follows
            self._first = index, tensors
            return
        self._write_first(numbered=True)
        self._write(index, tensors, numbered=True)

    def finish(self, items: int) -> None:
        """Complete the file."""
        self._write_first(numbered=items > 1)
        self._zip.close()

    def abandon(self) -> None:
        """End the archive, complete or not, while its file is still open."""
        with suppress(OSError, ValueError):
            self._zip.close()

    def _write_first(self, *, numbered: bool) -> None:
        if self._first is not None:
            self._write(*self._first, numbered=numbered)
            self._first = None

    def _write(self, index: int, tensors: tuple[Tensor, ...], *, numbered: bool) -> None:
        for tensor in tensors:
            name = f"{tensor.name}.{index}" if numbered else tensor.name
            pieces = _npy(tensor)
            with self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                for piece in pieces:
                    member.write(piece)


def wrap_rows(rows: BinaryIO, name: str, archive: IO[bytes]) -> None:
    """Write an `.npz` file with one member: the finished `.npy` file `rows`."""
    rows.seek(0)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED, allowZip64=True) as packed:
        with packed.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            while piece := rows.read(_COPY_BYTES):
                member.write(piece)


def _npy(tensor: Tensor) -> Iterable[bytes | memoryview]:
    """Return the pieces of a `.npy` file: bfloat16 as float32, texts as the format's UTF-32 of a fixed width."""
    if tensor.dtype == STRING:
        return _text_npy(tensor.name, tensor.shape, strings_of(tensor))
    data = widened(tensor.data) if tensor.dtype == "bfloat16" else tensor.data
    return (npy_header(_DESCRIPTIONS[tensor.dtype], tensor.shape), data)


def _text_npy(name: str, shape: tuple[int, ...], texts: list[str]) -> Iterable[bytes]:
    width = max([1, *map(len, texts)])
    if 4 * width * len(texts) > TEXT_FILE_BYTES_MAX:
        raise ProtocolError(f"{name!r} has {len(texts)} texts of up to {width} letters, too many for .npz; use .jsonl")
    if any(text.endswith("\0") for text in texts):
        raise ProtocolError(f"{name!r} has a text that ends in NUL, which .npz cannot hold; use .jsonl")
    elements = (text.encode("utf-32-le").ljust(4 * width, b"\0") for text in texts)
    return chain((npy_header(f"<U{width}", shape),), elements)


def _element(dtype: str) -> bytes:
    """Return what stands for an element that is missing: NaN, or zero for types without it."""
    if dtype == "float64":
        return struct.pack("<d", float("nan"))
    sizes = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}
    return _NAN.get(dtype) or bytes(sizes.get(dtype, 8))
