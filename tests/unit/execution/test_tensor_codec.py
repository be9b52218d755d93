from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from swarmharness.errors import InputError
from swarmharness.execution.skill import TENSOR_TYPES
from swarmharness.execution.tensor_arrays import from_arrays, read_npz, to_arrays, write_npz
from swarmharness.execution.tensor_codec import (
    Tensor,
    TensorHeader,
    TensorHeaders,
    decode_tensors,
    encode_tensors,
)
from swarmharness.protocol.codec import encode


def packed(*headers: TensorHeader, data: bytes = b"") -> bytes:
    header = encode(TensorHeaders(headers))
    return len(header).to_bytes(4, "big") + header + data


@pytest.mark.parametrize("dtype", TENSOR_TYPES)
def test_arrays_of_every_type_come_back_as_they_were(dtype: str) -> None:
    arrays = {
        "a": np.arange(6).reshape(2, 3).astype(dtype),
        "scalar": np.array(1, dtype),
        "none": np.zeros((0, 4), dtype),
    }
    back = to_arrays(decode_tensors(encode_tensors(from_arrays(arrays))))
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert (back[name] == array).all()


def test_big_endian_and_strided_arrays_travel_as_little_endian_rows() -> None:
    array = np.arange(12, dtype=">i4").reshape(3, 4).T
    (tensor,) = from_arrays({"x": array})
    assert tensor.dtype == "int32"
    assert tensor.shape == (4, 3)
    assert bytes(tensor.data) == array.astype("<i4").tobytes(order="C")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off"),
        (b"\x00\x00", "cut off"),
        (b"\x00\x00\x00\x09abc", "cut off"),
        (b"\xff\xff\xff\xff" + bytes(100), "cut off"),
        (b"\x00\x00\x00\x01\xc1", "not MessagePack"),
        (packed(TensorHeader("x", "float32", (4,)), data=bytes(15)), "'x' is cut off"),
        (packed(TensorHeader("x", "float32", (4,)), data=bytes(17)), "1 bytes too many"),
        (packed(TensorHeader("x", "complex64", (1,)), data=bytes(8)), "'complex64' are not supported"),
        (packed(TensorHeader("x", "float32", (2**40, 2**40)), data=bytes(8)), "'x' is cut off"),
        (packed(TensorHeader("x", "int8", (1,)), TensorHeader("x", "int8", (1,)), data=bytes(2)), "occurs twice"),
    ],
)
def test_damaged_tensors_are_refused_with_a_reason(data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_tensors(data)


def test_encoding_data_that_does_not_fit_its_shape_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="x: 3 bytes"):
        encode_tensors((Tensor("x", "float32", (1,), b"abc"),))


def test_npz_files_come_back_as_they_were() -> None:
    tensors = from_arrays({"a": np.eye(2, dtype=np.float16), "b": np.array([1, 2], np.int64)})
    assert to_arrays(read_npz(write_npz(tensors), "x.npz", size_bytes_max=10_000)).keys() == {"a", "b"}


def test_an_npy_file_is_one_tensor_called_x() -> None:
    stream = io.BytesIO()
    np.save(stream, np.ones(3, np.float32))
    (tensor,) = read_npz(stream.getvalue(), "x.npy", size_bytes_max=10_000)
    assert (tensor.name, tensor.shape) == ("x", (3,))


def test_a_pickle_is_not_loaded() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"evil\.npy: not an \.npz file of numbers"):
        read_npz(stream.getvalue(), "evil.npy", size_bytes_max=10_000)


def test_a_file_that_unpacks_to_too_much_is_refused_before_it_is_unpacked() -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(1_000_000))
    with pytest.raises(InputError, match="1000000 bytes unpacked; at most 10000"):
        read_npz(stream.getvalue(), "bomb.npz", size_bytes_max=10_000)


def test_text_arrays_have_no_wire_form() -> None:
    with pytest.raises(InputError, match="the types are"):
        from_arrays({"x": np.array(["a"])})
