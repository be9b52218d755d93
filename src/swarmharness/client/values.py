"""Turns a program's values into items and a peer's output bytes into values; it trusts no byte of either.

| kind | inputs | output |
|---|---|---|
| text-embedding | `str`; `bytes` or a file of UTF-8 | float32 array, one dimension |
| image-ocr | a file, or the `bytes` of one | `list[TextLine]` |
| file-type | a file, or the `bytes` of one | `FileType` |
| tensor | arrays by name, one array (named `x`), or an `.npz` or `.npy` file | `dict[str, ndarray]` |

A file is a `pathlib.Path`, so that no text is ever taken for the name of a file. Tensors of texts are arrays of `str`
objects; NumPy has no bfloat16, so such tensors come as float32, which holds the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

from swarmharness.errors import InputError, ProtocolError
from swarmharness.execution.item_files import item_from_path, read_file
from swarmharness.execution.items import item_bytes_max, item_from_bytes
from swarmharness.execution.records import decode_label, decode_lines
from swarmharness.execution.skill import Kind
from swarmharness.execution.tensor_codec import decode_output, decode_tensors, encode_tensors

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable

    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Inputs = Iterable["Input"] | AsyncIterable["Input"]
    Input = str | bytes | PathLike[str] | npt.ArrayLike | Mapping[str, npt.ArrayLike]

_TEXT_CHARS_SHOWN = 60


@dataclass(frozen=True, slots=True)
class TextLine:
    """A line that `image-ocr` found."""

    text: str
    box: tuple[int, int, int, int]
    """Left, top, right, bottom, in pixels of the upright image."""
    confidence: float


@dataclass(frozen=True, slots=True)
class FileType:
    """What `file-type` takes a file for."""

    label: str
    score: float
    mime: str
    group: str


def item_of(kind: Kind, value: Input) -> bytes:
    """Return the item for one value; InputError says what the kind takes instead."""
    match kind:
        case Kind.TEXT_EMBEDDING:
            item = _text(value)
        case Kind.IMAGE_OCR | Kind.FILE_TYPE:
            item = _file(kind, value)
        case Kind.TENSOR:
            item = _tensors(value)
        case _:
            assert_never(kind)
    if len(item) > item_bytes_max(kind):
        raise InputError(f"{len(item)} bytes; an item has at most {item_bytes_max(kind)}")
    return item


def output_of(kind: Kind, data: bytes) -> Any:
    """Return the value of an output; ProtocolError if the bytes are not an output of the kind."""
    try:
        match kind:
            case Kind.TEXT_EMBEDDING:
                return _vector(data)
            case Kind.IMAGE_OCR:
                return [TextLine(*line) for line in decode_lines(data)]
            case Kind.FILE_TYPE:
                return FileType(*decode_label(data))
            case Kind.TENSOR:
                return _arrays(data)
            case _:
                assert_never(kind)
    except (InputError, ValueError, TypeError) as error:
        raise ProtocolError(f"not an output of the kind {kind.value}: {error}") from None


# -- inputs -----------------------------------------------------------------------------------------------------------


def _text(value: object) -> bytes:
    if isinstance(value, PathLike):
        value = read_file(Path(value), item_bytes_max(Kind.TEXT_EMBEDDING))
    if isinstance(value, str):
        try:
            item = value.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"the text has a lone surrogate at {error.start}, which UTF-8 cannot hold") from None
    elif isinstance(value, bytes):
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"the bytes are not UTF-8: {error.reason} at {error.start}") from None
        item = value
    else:
        raise InputError(f"a text is a str, bytes of UTF-8 or a pathlib.Path, not {type(value).__name__}")
    if not item.strip():
        raise InputError("the text is empty")
    return item


def _file(kind: Kind, value: object) -> bytes:
    """Return the item for a file, or for what one would hold."""
    if isinstance(value, PathLike):
        return item_from_path(kind, Path(value))
    if isinstance(value, bytes):
        return item_from_bytes(kind, "the bytes", value)
    raise _not_a_file(kind, value)


def _tensors(value: object) -> bytes:
    if isinstance(value, bytes | PathLike):
        return _file(Kind.TENSOR, value)
    if isinstance(value, str):
        raise _not_a_file(Kind.TENSOR, value)
    import numpy as np

    from swarmharness.execution.tensor_arrays import from_arrays

    named = value if isinstance(value, Mapping) else {"x": value}
    try:
        item = encode_tensors(from_arrays({str(name): np.asarray(array) for name, array in named.items()}))
        decode_tensors(item)  # or it would be refused over there: too many, or a name too long
        return item
    except (ValueError, TypeError, ProtocolError) as error:
        raise InputError(f"not arrays: {error}") from None


def _not_a_file(kind: Kind, value: object) -> InputError:
    if isinstance(value, str):
        shown = value if len(value) <= _TEXT_CHARS_SHOWN else value[: _TEXT_CHARS_SHOWN - 1] + "…"
        return InputError(f"the kind {kind.value} takes no text; for a file write pathlib.Path({shown!r})")
    wanted = "arrays, bytes or a pathlib.Path" if kind is Kind.TENSOR else "bytes or a pathlib.Path"
    return InputError(f"the kind {kind.value} takes {wanted}, not {type(value).__name__}")


# -- outputs ----------------------------------------------------------------------------------------------------------


def _vector(data: bytes) -> npt.NDArray[np.float32]:
    (array,) = _arrays(data).values()
    if array.dtype.name != "float32" or array.ndim != 1:
        raise ValueError(f"an embedding is a float32 vector, not {array.dtype.name} {array.shape}")
    return array


def _arrays(data: bytes) -> dict[str, Array]:
    from swarmharness.execution.tensor_arrays import to_arrays

    # Copies, so that a program can write to them, and keeping one array does not keep a whole message.
    return {name: array.astype(array.dtype.newbyteorder("=")) for name, array in to_arrays(decode_output(data)).items()}
